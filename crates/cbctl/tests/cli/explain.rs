//! `explain`: what fields are, without an operator.

use insta::assert_snapshot;

use crate::world::run_at;

#[test]
fn fields_are_explained_from_the_schemas() {
    let folder = tempfile::tempdir().unwrap();
    let said = [
        "explain tenant.spec.database",
        "explain tn.spec.driftPolicy",
        "explain tenants.metadata.name",
        "explain hosts.spec.ports",
        "explain app.spec.services.healthCheck --recursive",
        "explain tenant.spec.domain",
        "explain tenant.spec.version.major",
        "explain pod",
        "explain tenant/ky04",
        "explain tenant",
    ]
    .map(|line| run_at(&folder.path().join("none.sock"), folder.path(), line, ""));
    assert_snapshot!(said.join("\n"));
}
