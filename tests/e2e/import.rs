//! `cbctl import`: a host that somebody set up by hand is taken over.

mod elsewhere;

use anyhow::Result;
use cb_testhost::Output;

use crate::world::World;

/// Three tenants as a person might have set them up in the operator's pattern:
/// users, folders, units, sites and databases, and nothing of the operator.
/// `ky04` and `oh09` are as the operator would have them; `tx28` has its
/// release in a folder of its own.
const BY_HAND: &str = r#"
release() { # FOLDER VERSION
    install -D -m 755 /opt/cb/bin/tinyapp "$1/bin/tinyapp"
    echo "$2" >"$1/VERSION"
}
release /var/lib/cb/releases/tiny/v1 v1
release /opt/tiny/v1 v1
tenant() { # NAME PORT RELEASE
    name=$1 front=$2 api=$(($2 + 1)) release=$3
    useradd --system --no-create-home --home-dir "/var/lib/cb/tenants/$name" --shell /usr/sbin/nologin "cb-$name"
    install -d -m 711 "/var/lib/cb/tenants/$name"
    install -d -m 700 -o "cb-$name" -g "cb-$name" "/var/lib/cb/tenants/$name/db" "/var/lib/cb/tenants/$name/uploads"
    install -d "/etc/cb/tenants/$name"
    cat >"/etc/cb/tenants/$name/.env" <<END
# $name, by hand
CB_TENANT=$name
CB_DATABASE_PATH=/var/lib/cb/tenants/$name/db/app.duckdb
MODE="loud"
API_TOKEN=hush-$name
END
    chmod 600 "/etc/cb/tenants/$name/.env"
    runuser -u "cb-$name" -- sh -c "echo 'rows of $name' >/var/lib/cb/tenants/$name/db/app.duckdb"
    for service in api frontend; do
        port=$front
        if [ $service = api ]; then port=$api; fi
        cat >"/etc/systemd/system/$name-$service.service" <<END
# $name $service, by hand
[Unit]
Description=$name $service
[Service]
User=cb-$name
WorkingDirectory=$release
EnvironmentFile=/etc/cb/tenants/$name/.env
Environment=PORT=$port
ExecStart=$release/bin/tinyapp $port
Restart=always
[Install]
WantedBy=multi-user.target
END
    done
    cat >"/etc/nginx/conf.d/$name-by-hand.conf" <<END
server {
    listen 80;
    server_name $name.example.org;
    location / { proxy_pass http://127.0.0.1:$front; }
    location /api/ { proxy_pass http://127.0.0.1:$api; }
}
END
}
tenant ky04 32300 /var/lib/cb/releases/tiny/v1
tenant oh09 32310 /var/lib/cb/releases/tiny/v1
tenant tx28 32320 /opt/tiny/v1
systemctl daemon-reload
systemctl enable -q --now ky04-api ky04-frontend oh09-api oh09-frontend tx28-api tx28-frontend
systemctl reload nginx
"#;

const IMPORT: &str = "import --application tiny --health /health --plain MODE";

fn cbctl(world: &World, line: &str) -> Result<Output> {
    let words: Vec<&str> = std::iter::once("cbctl").chain(line.split(' ')).collect();
    Ok(world.host.exec(&words)?)
}

fn good(world: &World, line: &str) -> Result<Output> {
    let output = cbctl(world, line)?;
    assert_eq!(output.code, Some(0), "cbctl {line}: {output:?}");
    Ok(output)
}

fn pids(world: &World, tenant: &str) -> Result<String> {
    let of = |service| world.show(&format!("{tenant}-{service}"), "MainPID");
    Ok(format!("{} {}", of("api")?, of("frontend")?))
}

/// Law 3 and 5: what a person set up is described without its secrets, left
/// alone until it is asked for by name, and taken over without a restart where
/// nothing differs; its data is never left behind.
#[test]
fn a_host_set_up_by_hand_is_taken_over() -> Result<()> {
    let world = World::installed("import")?;
    world.host.sh(BY_HAND)?;
    for name in ["ky04", "oh09", "tx28"] {
        world.waits("it serves", || Ok(world.page(name).is_ok()))?;
    }
    let before = world.fingerprint()?;
    let tenants = ["ky04", "oh09", "tx28"];
    let running: Vec<String> = tenants
        .iter()
        .map(|name| pids(&world, name))
        .collect::<Result<_>>()?;

    // Looking changes nothing, needs no operator and shows no secret.
    let described = good(&world, IMPORT)?;
    let said = format!("{}{}", described.stdout, described.stderr);
    assert!(!said.contains("hush"), "{said}");
    for line in [
        "# ky04: can be taken over without a restart",
        "# oh09: can be taken over without a restart",
        "# tx28: can be taken over; its services are restarted",
        "api: its folder is /opt/tiny/v1, not /var/lib/cb/releases/tiny/v1",
        "which variables are secrets",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    world
        .host
        .push(described.stdout.as_bytes(), "/root/all.yaml", 0o644)?;
    good(&world, "validate /root/all.yaml")?;
    assert_eq!(world.fingerprint()?, before);

    // The operator comes, and nothing is its but the unit for its rules.
    world.start()?;
    let others = |world: &World| -> Result<String> {
        let all = world.fingerprint()?;
        let others = all.lines().filter(|line| !line.contains("cb-network"));
        Ok(others.map(|line| format!("{line}\n")).collect())
    };
    assert_eq!(others(&world)?, before);
    let adopted = good(&world, &format!("{IMPORT} --adopt ky04"))?;
    assert!(
        adopted
            .stdout
            .contains("tenant.campaignbrain.io/ky04 adopted; no service was restarted"),
        "{adopted:?}"
    );
    world.wait_ready("ky04")?;
    for (name, running) in tenants.iter().zip(&running) {
        assert_eq!(pids(&world, name)?, *running, "{name}");
    }
    // The files are the operator's now, those by hand are kept, and the others
    // are as they were.
    world.host.sh(
        "grep -q owner=tenant/ky04 /etc/systemd/system/ky04-api.service /etc/cb/tenants/ky04/.env /etc/nginx/conf.d/cb-ky04.conf\n\
         ! test -e /etc/nginx/conf.d/ky04-by-hand.conf\n\
         test \"$(ls /var/lib/cb/set-aside/ky04 | wc -l)\" = 4\n\
         grep -q 'rows of ky04' /var/lib/cb/tenants/ky04/db/app.duckdb\n\
         test \"$(stat -c %a /etc/cb/secrets/ky04/API_TOKEN)\" = 600\n\
         ! grep -q adopt /etc/cb/manifests/ky04.yaml\n\
         ! grep -rq hush /etc/cb/manifests\n\
         head -1 /etc/systemd/system/oh09-api.service | grep -q 'by hand'",
    )?;
    assert!(world.page("ky04")?.contains("v1"));
    // It stays so: nothing is done again, and a restart runs the new unit.
    let settled = world.fingerprint()?;
    world.reconcile("ky04")?;
    assert_eq!(world.fingerprint()?, settled);
    assert_eq!(pids(&world, "ky04")?, running[0]);
    good(&world, "rollout restart ky04")?;
    assert_ne!(pids(&world, "ky04")?, running[0]);
    world.wait_ready("ky04")?;

    // A database elsewhere is in the way until it was moved.
    world.host.sh(
        "sed -i 's|^CB_DATABASE_PATH=.*|CB_DATABASE_PATH=/srv/tx28.duckdb|' /etc/cb/tenants/tx28/.env",
    )?;
    let refused = cbctl(&world, &format!("{IMPORT} --adopt tx28"))?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("its database is /srv/tx28.duckdb"),
        "{refused:?}"
    );
    assert_eq!(pids(&world, "tx28")?, running[2]);
    world.host.sh(
        "sed -i 's|^CB_DATABASE_PATH=.*|CB_DATABASE_PATH=/var/lib/cb/tenants/tx28/db/app.duckdb|' /etc/cb/tenants/tx28/.env",
    )?;

    // All others: the one that differs is restarted, and no other.
    let all = good(&world, &format!("{IMPORT} --all"))?;
    assert!(
        all.stdout
            .contains("oh09 adopted; no service was restarted"),
        "{all:?}"
    );
    assert!(
        all.stdout
            .contains("tx28 adopted; its services were restarted"),
        "{all:?}"
    );
    assert_eq!(pids(&world, "oh09")?, running[1]);
    assert_ne!(pids(&world, "tx28")?, running[2]);
    for name in tenants {
        world.wait_ready(name)?;
        assert!(world.page(name)?.contains("v1"), "{name}");
    }
    Ok(())
}

/// Other services, and a Host whose folders are where the data is: nothing has
/// to be moved then.
#[test]
fn services_and_the_host_say_where_to_look() -> Result<()> {
    let world = World::installed("importoptions")?;
    world.host.sh(
        r#"
install -D -m 755 /opt/cb/bin/tinyapp /srv/cb/releases/shop/v1/bin/tinyapp
useradd --system --no-create-home --home-dir /srv/cb/tenants/ky04 cb-ky04
install -d -m 711 /srv/cb/tenants/ky04 /srv/cb/units
install -d -m 700 -o cb-ky04 -g cb-ky04 /srv/cb/tenants/ky04/db
printf 'CB_DATABASE_PATH=/srv/cb/tenants/ky04/db/shop.duckdb\nCB_TENANT=ky04\n' >/srv/cb/ky04.env
for service in web worker; do
    port=32300; [ $service = web ] || port=32301
    cat >/srv/cb/units/ky04-$service.service <<END
[Service]
User=cb-ky04
WorkingDirectory=/srv/cb/releases/shop/v1
EnvironmentFile=/srv/cb/ky04.env
ExecStart=/srv/cb/releases/shop/v1/bin/tinyapp --for=ky04 --db /srv/cb/tenants/ky04/db/shop.duckdb $port
END
done
cat >/root/host.yaml <<END
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec: {paths: {state: /srv/cb, units: /srv/cb/units}}
END
"#,
    )?;
    let line = "import --application shop --services web,worker --host /root/host.yaml";
    let told = good(&world, line)?;
    for wanted in [
        "name: web",
        "name: worker",
        "databaseFile: shop.duckdb",
        "--for=$(CB_TENANT)",
        "$(CB_DATABASE_PATH)",
    ] {
        assert!(told.stdout.contains(wanted), "{wanted}: {}", told.stdout);
    }
    assert!(
        told.stderr
            .contains("# ky04: can be taken over without a restart"),
        "{}",
        told.stderr
    );
    // The services that are looked for by themselves are not there, nor are
    // these in the folder of a Host without the file.
    let none = cbctl(&world, "import --host /root/host.yaml")?;
    assert_eq!(none.code, Some(1), "{none:?}");
    assert!(
        none.stderr
            .contains("there are no units of tenants in /srv/cb/units")
            && none.stderr.contains("TENANT-api.service"),
        "{none:?}"
    );
    let none = cbctl(&world, "import --services web,worker")?;
    assert!(none.stderr.contains("in /etc/systemd/system"), "{none:?}");
    // With the default folders its data would be elsewhere.
    world
        .host
        .sh("cp /srv/cb/units/*.service /etc/systemd/system/")?;
    let told = good(&world, "import --application shop --services web,worker")?;
    assert!(
        told.stderr.contains("# ky04: cannot be taken over yet"),
        "{}",
        told.stderr
    );
    Ok(())
}
