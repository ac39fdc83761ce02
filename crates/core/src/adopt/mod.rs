//! Taking over what a person or another tool set up (law 3: adoption is
//! explicit).
//!
//! A tenant's annotation [`ANNOTATION`] lists the files that were written by
//! hand and may be taken over: its units, its `.env`, its site. They are moved
//! into the folder of what was set aside, and the operator's own are written in
//! their place. A service that runs already with what it would be started with
//! ([`differences`]) goes on as it is. Once the tenant was applied in full the
//! annotation means nothing.
//!
//! What is in the way of the data is told before anything is changed
//! ([`obstacles`], law 5).

mod site;
mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::desired::{OPERATOR_VARIABLES, dotenv};
use crate::observed::Secret;
use crate::record::Record;

pub use site::SiteFile;
pub use unit::UnitFile;

/// The annotation: full paths, with blanks between.
pub const ANNOTATION: &str = "campaignbrain.io/adopt";

/// The variable that says where the database is.
pub const DATABASE: &str = "CB_DATABASE_PATH";
/// The variable that says where the uploads are.
pub const UPLOADS: &str = "CB_UPLOADS_DIR";
/// The database that all tenants share; it stays where it is.
const SHARED: &str = "I360_DATABASE_PATH";

/// The texts of files that were written by hand, by path. They may hold
/// secrets.
pub type Handmade = BTreeMap<PathBuf, Secret>;

/// The files that a tenant asks to take over; none once it was applied in full.
#[must_use]
pub fn listed(record: &Record) -> BTreeSet<PathBuf> {
    if record
        .applied
        .as_deref()
        .is_some_and(|digest| digest != Record::APPLYING)
    {
        return BTreeSet::new();
    }
    let annotation = record.tenant.metadata.annotations.get(ANNOTATION);
    let paths = annotation
        .into_iter()
        .flat_map(|text| text.split_whitespace());
    paths
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// The variables that a service gets by its unit: files come after settings.
#[must_use]
pub fn environment(unit: &UnitFile, files: &Handmade) -> BTreeMap<String, String> {
    let mut out = unit.environment.clone();
    for path in &unit.environment_files {
        let text = files.get(path).map(Secret::reveal).unwrap_or_default();
        // Of a file that systemd reads otherwise nothing is known: it differs.
        let variables = dotenv::parse(text.as_bytes()).unwrap_or_default();
        out.extend(
            variables
                .into_iter()
                .map(|(name, value)| (name.to_string(), value)),
        );
    }
    out
}

/// What a service would run with otherwise than it does now, in words and
/// without values (law 11); empty if it can go on as it is. Variables that
/// only the operator sets are there from its next start on.
#[must_use]
pub fn differences(
    (now, now_env): (&UnitFile, &BTreeMap<String, String>),
    (new, new_env): (&UnitFile, &BTreeMap<String, String>),
) -> Vec<String> {
    let mut out = Vec::new();
    let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "root".into());
    if now.user != new.user {
        out.push(format!(
            "it runs as {}, not as {}",
            shown(&now.user),
            shown(&new.user)
        ));
    } else if now.group.as_ref().or(now.user.as_ref()) != new.group.as_ref().or(new.user.as_ref()) {
        out.push("its group is another one".into());
    }
    if now.directory != new.directory {
        let of = |unit: &UnitFile| unit.directory.clone().unwrap_or_else(|| "/".into());
        out.push(format!("its folder is {}, not {}", of(now), of(new)));
    }
    if now.command != new.command {
        out.push("its command is another one".into());
    }
    let names: BTreeSet<&String> = now_env.keys().chain(new_env.keys()).collect();
    for name in names {
        match (now_env.get(name), new_env.get(name)) {
            (Some(old), Some(new)) if old != new => {
                out.push(format!("the value of {name} is another one"));
            }
            (Some(_), None) => out.push(format!("{name} is not in the manifest")),
            (None, Some(_)) if !is_operators(name) => {
                out.push(format!("{name} is new"));
            }
            _ => {}
        }
    }
    out
}

/// Whether a variable is the operator's own.
#[must_use]
pub fn is_operators(name: &str) -> bool {
    OPERATOR_VARIABLES.contains(&name) || (name.starts_with("CB_") && name.ends_with("_PORT"))
}

/// Where a tenant's things have to be, and whose.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its user.
    pub user: &'a str,
    /// Its database file.
    pub database: &'a Path,
    /// The folder of its uploads.
    pub uploads: &'a Path,
}

impl<'a> Place<'a> {
    /// As the operator would tell it to a service with this environment.
    #[must_use]
    pub fn of(user: &'a str, environment: &'a BTreeMap<String, String>) -> Self {
        let path = |name| Path::new(environment.get(name).map_or("", String::as_str));
        Self {
            user,
            database: path(DATABASE),
            uploads: path(UPLOADS),
        }
    }
}

/// What is not where it has to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// The database is this file, and what says so.
    Database(PathBuf, String),
    /// The uploads are in this folder, and what says so.
    Uploads(PathBuf, String),
    /// The services run as this user.
    User(String),
}

impl Obstacle {
    /// In words, with what to do.
    #[must_use]
    pub fn words(&self, place: Place<'_>) -> String {
        let user = place.user;
        match self {
            Obstacle::Database(path, from) => format!(
                "its database is {} ({from}) and has to be {}: stop its services, move the file, and give it to {user}",
                path.display(),
                place.database.display()
            ),
            Obstacle::Uploads(path, from) => format!(
                "its uploads are in {} ({from}) and have to be in {}: stop its services, move the folder, and give it to {user}",
                path.display(),
                place.uploads.display()
            ),
            Obstacle::User(now) => format!(
                "its services run as {now} and have to run as {user}: stop them, give their files to {user}, and set User={user} in their units"
            ),
        }
    }
}

/// What has to be moved before a tenant can be taken over: its data, where a
/// service would not find it, and files of another user. Nothing is said of what
/// a service has in a place that neither its environment nor its command names.
#[must_use]
pub fn obstacles(
    unit: &UnitFile,
    environment: &BTreeMap<String, String>,
    place: Place<'_>,
) -> Vec<Obstacle> {
    let mut out = Vec::new();
    let variables = environment
        .iter()
        .filter(|(name, _)| *name != SHARED)
        .map(|(name, value)| (name.clone(), value.as_str()));
    let words = unit.command.iter().skip(1);
    let words = words.map(|word| ("its command".to_owned(), value_of(word)));
    for (from, value) in variables.chain(words) {
        let path = Path::new(value);
        if from == DATABASE || value.ends_with(".duckdb") {
            if path != place.database {
                out.push(Obstacle::Database(path.into(), from));
            }
        } else if from.contains("UPLOAD") && path.is_absolute() && path != place.uploads {
            out.push(Obstacle::Uploads(path.into(), from));
        }
    }
    if unit.user.as_deref() != Some(place.user) {
        let now = unit.user.as_deref().unwrap_or("root");
        out.push(Obstacle::User(now.to_owned()));
    }
    out
}

/// The value of an argument like `--db=PATH`, or all of it.
fn value_of(word: &str) -> &str {
    word.split_once('=').map_or(word, |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "[Service]\nUser=cb-a\nWorkingDirectory=/r/v1\nEnvironment=PORT=1\n\
                        EnvironmentFile=/etc/a.env\nExecStart=/r/v1/bin/api 1\n";

    fn seen(unit: &str, env: &str) -> (UnitFile, BTreeMap<String, String>) {
        let unit = UnitFile::parse(unit);
        let files = BTreeMap::from([("/etc/a.env".into(), Secret::new(env.to_owned()))]);
        let environment = environment(&unit, &files);
        (unit, environment)
    }

    fn compare(unit: &str, env: &str) -> Vec<String> {
        let (now, now_env) = seen(unit, env);
        let (new, new_env) = seen(UNIT, "CB_TENANT=a\nMODE=\"loud\"\n");
        differences((&now, &now_env), (&new, &new_env))
    }

    #[test]
    fn a_service_goes_on_if_it_would_be_started_the_same() {
        assert!(compare(UNIT, "MODE=loud\n").is_empty());
        let more = UNIT.replace("User=cb-a", "User=cb-a\nGroup=cb-a\nRestart=always");
        assert!(compare(&more, "MODE=loud\nCB_TENANT=a\n").is_empty());
    }

    #[test]
    fn differences_are_named_without_values() {
        let other = UNIT.replace("/r/v1", "/opt/v1").replace("cb-a", "www");
        let said = compare(&other, "MODE=quiet\nTOKEN=hush\n");
        assert_eq!(
            said,
            [
                "it runs as www, not as cb-a",
                "its folder is /opt/v1, not /r/v1",
                "its command is another one",
                "the value of MODE is another one",
                "TOKEN is not in the manifest",
            ]
        );
        assert_eq!(compare(UNIT, ""), ["MODE is new"]);
    }

    /// Law 5: no service is started beside its data.
    #[test]
    fn data_elsewhere_is_in_the_way() {
        let place = Place {
            user: "cb-a",
            database: Path::new("/var/lib/cb/tenants/a/db/app.duckdb"),
            uploads: Path::new("/var/lib/cb/tenants/a/uploads"),
        };
        let of = |unit: &str, env: &str, place| {
            let (unit, environment) = seen(unit, env);
            let said = obstacles(&unit, &environment, place);
            said.iter().map(|one| one.words(place)).collect::<Vec<_>>()
        };
        let elsewhere = of(UNIT, "DB=/srv/a/app.duckdb\nCB_TENANT=a\n", place);
        assert!(
            elsewhere[0].contains("/srv/a/app.duckdb (DB)"),
            "{elsewhere:?}"
        );
        assert_eq!(elsewhere.len(), 1);
        let told = UNIT.replace("api 1", "api --db=/srv/a/x.duckdb");
        let told = of(&told, "", place);
        assert!(
            told[0].contains("/srv/a/x.duckdb (its command)"),
            "{told:?}"
        );
        let uploads = of(
            UNIT,
            "UPLOAD_PATH=/srv/a/files\nI360_DATABASE_PATH=/i.duckdb\n",
            place,
        );
        assert!(uploads[0].contains("have to be in /var/lib/cb/tenants/a/uploads"));
        assert_eq!(uploads.len(), 1);
        let there = Place {
            database: Path::new("/srv/a/app.duckdb"),
            ..place
        };
        assert!(of(UNIT, "DB=/srv/a/app.duckdb\n", there).is_empty());
        let other = of(
            UNIT,
            "DB=/srv/a/app.duckdb\n",
            Place {
                user: "cb-b",
                ..there
            },
        );
        assert!(other[0].contains("run as cb-a"), "{other:?}");
    }
}
