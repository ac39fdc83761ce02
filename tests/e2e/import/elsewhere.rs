//! A host whose layout is not the operator's: the commands that `cbctl import`
//! prints are run as they are, and then the tenants are taken over.

use anyhow::{Context as _, Result};
use cb_testhost::Output;

use super::{good, pids};
use crate::world::World;

/// Two tenants of the example application in `/opt/app`, as the user of the web
/// server, with one release that a link leads to. The data of `oh09` is on
/// another file system.
const BY_HAND: &str = r#"
mkdir -p /opt/app/releases
cp -a /opt/cb/releases/v0.1.0 /opt/app/releases/
ln -s releases/v0.1.0 /opt/app/current
tenant() { # NAME PORT
    name=$1 front=$2 api=$(($2 + 1)) app=/opt/app/$1
    install -d -o www-data -g www-data $app $app/data $app/uploads
    cat >$app/env <<END
# $name, by hand
CB_TENANT=$name
CB_DATABASE_PATH=$app/data/x.duckdb
CB_UPLOADS_DIR="$app/uploads"
CB_RELEASE_DIR=/opt/app/current
CB_API_PORT=$api
MODE=loud
API_TOKEN=hush-$name
END
    chmod 600 $app/env
    for service in api frontend; do
        port=$front
        if [ $service = api ]; then port=$api; fi
        cat >/etc/systemd/system/$name-$service.service <<END
[Unit]
Description=$name $service, by hand
[Service]
User = www-data
Group=www-data
WorkingDirectory=/opt/app/current
EnvironmentFile=$app/env
Environment="PORT=$port" HOME=$app/data
ExecStart=/opt/app/current/bin/cbapp-$service
Restart=always
[Install]
WantedBy=multi-user.target
END
    done
    cat >/etc/nginx/conf.d/$name-by-hand.conf <<END
server {
    listen 80;
    server_name $name.example.org;
    location / { proxy_pass http://127.0.0.1:$front; }
    location /api/ { proxy_pass http://127.0.0.1:$api; }
}
END
}
tenant ky04 32300
tenant oh09 32310
systemctl daemon-reload
systemctl enable -q --now ky04-api ky04-frontend oh09-api oh09-frontend
systemctl reload nginx
"#;

const IMPORT: &str = "import --health /health --plain MODE,HOME";

/// All that a tenant has by hand.
fn by_hand(world: &World, tenant: &str) -> Result<String> {
    Ok(world.host.sh(&format!(
        "cd /opt/app/{tenant}; find . -printf '%p %u %m\\n' | grep -v wal | sort; cat env\n\
         cat /etc/systemd/system/{tenant}-*.service; systemctl is-enabled {tenant}-api {tenant}-frontend"
    ))?)
}

fn ask(world: &World, tenant: &str, arguments: &[&str]) -> Result<(u16, String)> {
    let host = format!("Host: {tenant}.example.org");
    let answer = world.host.curl(&[&["-H", &host], arguments].concat())?;
    Ok((answer.status, answer.body))
}

/// What a person put there through the application.
fn fill(world: &World, tenant: &str) -> Result<()> {
    let contact = format!("{{\"name\": \"Ada of {tenant}\"}}");
    let json = "Content-Type: application/json";
    let url = "http://127.0.0.1/api/contacts";
    let (status, body) = ask(world, tenant, &["-H", json, "-d", &contact, url])?;
    assert_eq!(status, 201, "{body}");
    let text = "Content-Type: text/plain";
    let url = "http://127.0.0.1/api/uploads/flyer.txt";
    let (status, body) = ask(world, tenant, &["-H", text, "-d", "vote", url])?;
    assert_eq!(status, 201, "{body}");
    Ok(())
}

fn wait_filled(world: &World, tenant: &str) -> Result<()> {
    world.waits(&format!("{tenant} serves its data"), || {
        let (_, page) = ask(world, tenant, &["http://127.0.0.1/"])?;
        Ok(page.contains(&format!("Ada of {tenant}")) && page.contains("flyer.txt"))
    })
}

fn run(world: &World, script: &str) -> Result<Output> {
    Ok(world.host.exec(&["sh", "-c", script])?)
}

/// Laws 3, 5 and 11: what is elsewhere is left there until a person runs the
/// commands; they lose nothing, whether they fail, are killed or work, and cost
/// one restart.
#[test]
fn a_host_of_another_layout_is_moved_and_taken_over() -> Result<()> {
    let world = World::installed_with("elsewhere", |options| {
        options.tmpfs("/opt/app/oh09", 100 << 20)
    })?;
    world.host.sh(BY_HAND)?;
    let tenants = ["ky04", "oh09"];
    for name in tenants {
        world.waits("it serves", || {
            Ok(ask(&world, name, &["http://127.0.0.1/api/contacts"])?.0 == 200)
        })?;
        fill(&world, name)?;
        wait_filled(&world, name)?;
    }
    let running = [pids(&world, "ky04")?, pids(&world, "oh09")?];
    let before = [by_hand(&world, "ky04")?, by_hand(&world, "oh09")?];

    // What is in the way is told, and what to do; no secret is.
    let told = good(&world, IMPORT)?;
    let said = format!("{}{}", told.stdout, told.stderr);
    for line in [
        "# ky04: cannot be taken over yet",
        "its database is /opt/app/ky04/data/x.duckdb (CB_DATABASE_PATH)",
        "its uploads are in /opt/app/ky04/uploads (CB_UPLOADS_DIR)",
        "its services run as www-data",
        "`--script ky04` prints the commands",
        "version: v0.1.0",
        "path: /opt/app/releases/v0.1.0",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let refused = run(&world, &format!("cbctl {IMPORT} --adopt ky04"))?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for name in tenants {
        let script = good(&world, &format!("{IMPORT} --script {name}"))?;
        assert!(!format!("{script:?}{said}").contains("hush"), "{script:?}");
        let path = format!("/root/{name}.sh");
        world.host.push(script.stdout.as_bytes(), &path, 0o700)?;
    }
    assert_eq!(by_hand(&world, "ky04")?, before[0]);

    // Services that do not come up: everything is as before, and they run.
    let release = "/var/lib/cb/releases/cbapp/v0.1.0";
    world.host.sh(&format!(
        "install -D -m 755 /bin/false {release}/bin/cbapp-api; cp -p /bin/false {release}/bin/cbapp-frontend"
    ))?;
    let failed = run(&world, "/root/ky04.sh")?;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    for words in [
        "nothing listens on port 32301",
        "putting everything back",
        "the services run as before",
    ] {
        assert!(failed.stderr.contains(words), "{failed:?}");
    }
    wait_filled(&world, "ky04")?;
    assert_eq!(by_hand(&world, "ky04")?, before[0]);
    world.host.sh(&format!(
        "rm -r {release}; ! test -e /var/lib/cb/set-aside/ky04.moving"
    ))?;

    // Killed when all is moved and nothing runs; the next run begins anew.
    let kill = "#!/bin/sh\n[ \"$1\" = daemon-reload ] && rm \"$0\" && kill -KILL $PPID\nexec /usr/bin/systemctl \"$@\"\n";
    for name in tenants {
        world
            .host
            .push(kill.as_bytes(), "/root/bin/systemctl", 0o755)?;
        let script = format!("PATH=/root/bin:$PATH /root/{name}.sh");
        let killed = run(&world, &script)?;
        assert!(killed.code != Some(0), "{killed:?}");
        world.host.sh(&format!(
            "! test -e /opt/app/{name}/data/x.duckdb; test -e /var/lib/cb/tenants/{name}/db/tenant.duckdb\n\
             ! systemctl is-active {name}-api {name}-frontend; ! systemctl is-enabled {name}-api"
        ))?;
        let moved = run(&world, &script)?;
        assert_eq!(moved.code, Some(0), "{moved:?}");
        assert!(
            moved.stderr.contains("an earlier run was cut off"),
            "{moved:?}"
        );
        assert!(
            moved.stderr.contains("the services run as before"),
            "{moved:?}"
        );
        wait_filled(&world, name)?;
        world.host.sh(&format!(
            "test \"$(stat -c %U /var/lib/cb/tenants/{name}/db/tenant.duckdb)\" = cb-{name}\n\
             ps -o user= -p $(systemctl show -P MainPID {name}-api) | grep -qx cb-{name}\n\
             systemctl is-enabled -q {name}-api {name}-frontend"
        ))?;
        let again = run(&world, &script)?;
        assert!(
            again.code == Some(1) && again.stderr.contains("done already"),
            "{again:?}"
        );
        if name == "ky04" {
            assert_eq!(by_hand(&world, "oh09")?, before[1]);
            assert_eq!(pids(&world, "oh09")?, running[1]);
        }
    }
    // Over another file system the old one is kept beside, under another name.
    world.host.sh(
        "cmp /opt/app/oh09/uploads.before-import/flyer.txt /var/lib/cb/tenants/oh09/uploads/flyer.txt\n\
         test -e /opt/app/oh09/data/x.duckdb.before-import; ! test -e /opt/app/ky04/uploads",
    )?;

    // Nothing is in the way any more, and nothing is restarted again.
    let moved = [pids(&world, "ky04")?, pids(&world, "oh09")?];
    let told = good(&world, IMPORT)?;
    for name in tenants {
        let wanted = format!("# {name}: can be taken over without a restart");
        assert!(told.stderr.contains(&wanted), "{told:?}");
    }
    let nothing = run(&world, &format!("cbctl {IMPORT} --script ky04"))?;
    assert!(
        nothing.stderr.contains("nothing of ky04 has to be moved"),
        "{nothing:?}"
    );
    world.start()?;
    let adopted = good(&world, &format!("{IMPORT} --all"))?;
    assert_eq!(
        adopted
            .stdout
            .matches("adopted; no service was restarted")
            .count(),
        2,
        "{adopted:?}"
    );
    for (name, moved) in tenants.iter().zip(&moved) {
        world.wait_ready(name)?;
        assert_eq!(pids(&world, name)?, *moved, "{name}");
        wait_filled(&world, name)?;
    }
    // In the operator's sandbox too.
    good(&world, "rollout restart ky04 oh09")?;
    for name in tenants {
        world.wait_ready(name)?;
        wait_filled(&world, name)?;
        let status = world.tenant(name)?["status"].clone();
        let schema = status["schemaVersion"]
            .as_u64()
            .context("the schema version")?;
        assert_eq!(schema, 1, "{status}");
    }
    Ok(())
}
