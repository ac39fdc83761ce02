//! Law 3: hands off what is not ours.

use anyhow::Result;

use crate::world::{TINY, World, condition_in, tiny};

/// What a person made before the operator came: each in the way of one tenant
/// that is called after it.
const OBSTACLES: &str = "\
mkdir -p /etc/cb/tenants/env1 /root/mine /etc/sysusers.d
printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/etc/systemd/system/unit1-api.service
printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/usr/lib/systemd/system/vendor1-api.service
printf '# a site of mine\\n' >/etc/nginx/conf.d/cb-site1.conf
printf '# linked\\n' >/root/mine/linked.conf
ln -s /root/mine/linked.conf /etc/nginx/conf.d/cb-link1.conf
useradd --system --no-create-home cb-user1
printf 'u cb-sys1 - \"mine\"\\n' >/etc/sysusers.d/cb-sys1.conf
printf 'SECRET=mine\\n' >/etc/cb/tenants/env1/.env
printf 'notes: of mine\\n' >/etc/cb/manifests/stat1.status.yaml
systemctl daemon-reload
systemctl start unit1-api.service
nginx -t -q
";

const FILES: [&str; 8] = [
    "/etc/systemd/system/unit1-api.service",
    "/usr/lib/systemd/system/vendor1-api.service",
    "/etc/nginx/conf.d/cb-site1.conf",
    "/etc/nginx/conf.d/cb-link1.conf",
    "/root/mine/linked.conf",
    "/etc/sysusers.d/cb-sys1.conf",
    "/etc/cb/tenants/env1/.env",
    "/etc/cb/manifests/stat1.status.yaml",
];

const TENANTS: [&str; 8] = [
    "unit1", "vendor1", "site1", "link1", "user1", "sys1", "env1", "stat1",
];

/// Law 3: nothing without the operator's mark is overwritten; what is in the
/// way is named on the tenant's condition, the rest of the tenant and all
/// others converge, and so does it as soon as the obstacle is gone.
#[test]
fn what_a_person_made_is_named_and_never_touched() -> Result<()> {
    let world = World::installed("owned")?;
    world.host.sh(OBSTACLES)?;
    let before = world.sums(&FILES)?;
    let accounts = world
        .host
        .sh("getent passwd cb-user1; getent group cb-user1")?;
    let sleeping = world.show("unit1-api.service", "MainPID")?;
    world.put("tiny.yaml", TINY)?;
    world.put_many(&TENANTS)?;
    world.put_many(&["good1", "good2"])?;
    world.start()?;
    world.wait_served(&["good1", "good2"])?;

    let conflict =
        |tenant, kind, path: &str| world.wait_words((tenant, kind), "False Conflict", &[path]);
    conflict(
        "unit1",
        "ServicesReady",
        "/etc/systemd/system/unit1-api.service",
    )?;
    conflict(
        "vendor1",
        "ServicesReady",
        "/usr/lib/systemd/system/vendor1-api.service",
    )?;
    conflict("site1", "ProxyReady", "/etc/nginx/conf.d/cb-site1.conf")?;
    conflict("link1", "ProxyReady", "/etc/nginx/conf.d/cb-link1.conf")?;
    conflict("user1", "Prepared", "user cb-user1 exists")?;
    conflict("sys1", "Prepared", "/etc/sysusers.d/cb-sys1.conf")?;
    conflict("env1", "ServicesReady", "/etc/cb/tenants/env1/.env")?;
    for tenant in &TENANTS[..7] {
        world.wait_condition(tenant, "Ready", "False Conflict")?;
        world.wait_condition(tenant, "Stalled", "True Conflict")?;
        let written = condition_in(&world.status_file(tenant)?["status"], "Stalled");
        assert!(written.starts_with("True Conflict"), "{tenant}: {written}");
    }
    // The rest of a tenant is there as far as nothing is in its way.
    for tenant in ["unit1", "vendor1", "env1"] {
        world.wait_condition(tenant, "ProxyReady", "True Live")?;
        world.wait_condition(tenant, "Prepared", "True")?;
    }
    for tenant in ["site1", "link1"] {
        world.wait_condition(tenant, "ServicesReady", "True Running")?;
    }
    world.wait_ready("stat1")?;
    world.wait_warned(&["/etc/cb/manifests/stat1.status.yaml is not the operator's"])?;
    // Nothing runs under a person's user, or beside a person's service.
    world.host.sh("! ls -d /etc/systemd/system/user1-* /etc/systemd/system/sys1-* /var/lib/cb/tenants/user1 2>/dev/null")?;
    assert_eq!(world.show("unit1-api.service", "MainPID")?, sleeping);
    assert_eq!(
        world.show("unit1-frontend.service", "LoadState")?,
        "not-found"
    );

    // Whatever else happens: other tenants change, passes run, the operator
    // starts again.
    world.goes_on("good1")?;
    for tenant in TENANTS {
        world.reconcile(tenant)?;
    }
    world.host.sh("systemctl restart cb-operator")?;
    world.goes_on("good1")?;
    conflict(
        "unit1",
        "ServicesReady",
        "/etc/systemd/system/unit1-api.service",
    )?;
    assert_eq!(world.sums(&FILES)?, before);
    assert_eq!(
        world
            .host
            .sh("getent passwd cb-user1; getent group cb-user1")?,
        accounts
    );
    assert_eq!(world.show("unit1-api.service", "MainPID")?, sleeping);

    world.host.sh(&format!(
        "systemctl stop unit1-api.service; userdel cb-user1; rm {}; systemctl daemon-reload",
        FILES.join(" ")
    ))?;
    world.wait_served(&TENANTS)?;
    world.wait_sh(
        "the status is written",
        "grep -q 'name: stat1' /etc/cb/manifests/stat1.status.yaml",
    )?;
    world
        .host
        .sh("id cb-user1 && grep -q owner=tenant/site1 /etc/nginx/conf.d/cb-site1.conf")?;
    Ok(())
}

/// Law 3: removing a tenant removes what carries its mark, and nothing that a
/// person put in its place or beside it.
#[test]
fn removing_a_tenant_leaves_what_a_person_put_there() -> Result<()> {
    let world = World::running("handsoff")?;
    world.put("ky04.yaml", &tiny("ky04", "deletionPolicy: Delete"))?;
    world.put_many(&["oh09", "tx28"])?;
    world.wait_served(&["ky04", "oh09", "tx28"])?;
    world.host.sh("systemctl stop cb-operator")?;
    world.host.sh(
        "printf '# mine now\\n' >/etc/nginx/conf.d/cb-ky04.conf\n\
         printf 'mine: too\\n' >/etc/cb/manifests/ky04.status.yaml\n\
         printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/etc/systemd/system/ky04-worker.service\n\
         rm /etc/cb/manifests/ky04.yaml",
    )?;
    let files = [
        "/etc/nginx/conf.d/cb-ky04.conf",
        "/etc/cb/manifests/ky04.status.yaml",
        "/etc/systemd/system/ky04-worker.service",
    ];
    let before = world.sums(&files)?;
    world.start()?;
    world.wait_gone("ky04")?;
    world.host.sh("! ls /etc/systemd/system/ky04-api.service /etc/systemd/system/ky04-frontend.service 2>/dev/null")?;
    assert_eq!(world.sums(&files)?, before);
    world.wait_served(&["oh09", "tx28"])?;
    Ok(())
}
