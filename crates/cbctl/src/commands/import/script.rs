//! The shell commands that bring a tenant where the operator has it: a script
//! that a person reads and runs.
//!
//! What moves the data of a host that somebody set up by hand is that person and
//! not the operator, which keeps its hands off what is not its own (law 3). The
//! script restarts the services once, undoes itself if they do not come up, and
//! has no value of a variable in it but paths (law 11). What is the same for
//! every tenant is in `script.sh`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cb_core::adopt::{Obstacle, Place};

use super::scan::FoundTenant;

/// The part that is the same for every tenant.
const BODY: &str = include_str!("script.sh");

/// What a script is made of.
pub(super) struct Move<'a> {
    pub(super) found: &'a FoundTenant,
    pub(super) obstacles: &'a BTreeSet<Obstacle>,
    /// Where the operator has its things.
    pub(super) place: Place<'a>,
    /// The Host's folder of state, and in it the tenant's data and its release.
    pub(super) state: &'a Path,
    pub(super) data: &'a Path,
    pub(super) release: &'a Path,
    /// The path of its health check.
    pub(super) health: Option<&'a str>,
}

impl Move<'_> {
    /// The script.
    ///
    /// # Errors
    /// Why a person has to think of something else.
    pub(super) fn script(&self) -> Result<String, String> {
        let name = &self.found.name;
        let database = self.one("database", |obstacle| match obstacle {
            Obstacle::Database(path, _) => Some(path),
            _ => None,
        })?;
        let uploads = self.one("folder of uploads", |obstacle| match obstacle {
            Obstacle::Uploads(path, _) => Some(path),
            _ => None,
        })?;
        let release = self.release_now()?;
        for moved in [&database, &uploads].into_iter().flatten() {
            if release.iter().any(|(_, real)| moved.real.starts_with(real)) {
                return Err(format!(
                    "{} is inside its release; move it out of there first",
                    moved.real.display()
                ));
            }
        }
        let mut pairs: Vec<(&Path, &Path)> = Vec::new();
        for (moved, to) in [
            (&database, self.place.database),
            (&uploads, self.place.uploads),
        ] {
            let names = moved.iter().flat_map(|moved| [&moved.written, &moved.real]);
            pairs.extend(names.map(|from| (from.as_path(), to)));
        }
        let names = release.iter().flat_map(|(written, real)| [written, real]);
        pairs.extend(names.map(|from| (from.as_path(), self.release)));
        pairs.dedup();

        let services = &self.found.services;
        let units: Vec<&Path> = services
            .iter()
            .map(|service| service.file.as_path())
            .collect();
        let files = units
            .iter()
            .copied()
            .chain(self.found.env_files.iter().map(PathBuf::as_path));
        let files: Vec<String> = files.map(plain).collect::<Result<_, _>>()?;
        let unit_names = units.iter().filter_map(|unit| unit.file_name()?.to_str());
        let unit_names: Vec<&str> = unit_names.collect();
        let ports: Vec<String> = services
            .iter()
            .map(|service| service.port.to_string())
            .collect();
        let real = |moved: &Option<Moved>| {
            moved
                .as_ref()
                .map_or(Ok(String::new()), |of| plain(&of.real))
        };
        let mut out = format!(
            "#!/bin/sh\n\
             # Brings {name} where the operator has its tenants, by `cbctl import --script {name}`.\n\
             # Read it, and run it as root on the host. The services are restarted once; if they do\n\
             # not come up, everything is put back.\n\
             set -eu\n"
        );
        for (variable, value) in [
            ("tenant", name.to_string()),
            ("user", plain(Path::new(self.place.user))?),
            ("state", plain(self.state)?),
            ("data", plain(self.data)?),
            ("units", unit_names.join(" ")),
            ("files", files.join(" ")),
            ("ports", ports.join(" ")),
            (
                "health",
                self.health
                    .map_or(Ok(String::new()), |path| plain(Path::new(path)))?,
            ),
            ("database_from", real(&database)?),
            ("database_to", plain(self.place.database)?),
            ("uploads_from", real(&uploads)?),
            ("uploads_to", plain(self.place.uploads)?),
            (
                "release_from",
                release
                    .as_ref()
                    .map_or(Ok(String::new()), |(_, real)| plain(real))?,
            ),
            ("release_to", plain(self.release)?),
        ] {
            let _ = writeln!(out, "{variable}='{value}'");
        }
        out.push_str("\n# What is written in units and files of variables instead.\npath_changes() {\n    sed \\\n");
        // Twice, as what stands between two paths belongs to one of them.
        for (from, to) in pairs.iter().chain(&pairs) {
            let from = plain(from)?.replace('.', "\\.");
            let _ = writeln!(
                out,
                "        -e 's#\\(^\\|[=\" ]\\){from}\\($\\|[/\" ]\\)#\\1{}\\2#g' \\",
                plain(to)?
            );
        }
        out.push_str("        -e '' \"$1\"\n}\n");
        let _ = write!(
            out,
            "unit_changes() {{\n    path_changes \"$1\" | sed \\\n        \
             -e '/^[[:space:]]*\\(User\\|Group\\)[[:space:]]*=/d' \\\n        \
             -e '/^[[:space:]]*\\[Service\\]/a User={}'\n}}\n",
            self.place.user
        );
        out.push_str(BODY);
        Ok(out)
    }

    /// The one thing of a kind that has to be moved.
    fn one<'o>(
        &'o self,
        what: &str,
        of: impl Fn(&'o Obstacle) -> Option<&'o PathBuf>,
    ) -> Result<Option<Moved>, String> {
        let found: BTreeSet<&PathBuf> = self.obstacles.iter().filter_map(of).collect();
        let mut found = found.into_iter().map(|path| Moved::of(path));
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(one), None) => Ok(Some(one)),
            (Some(one), Some(other)) => Err(format!(
                "it has more than one {what}, {} and {}; a tenant of the operator has one",
                one.written.display(),
                other.written.display()
            )),
        }
    }

    /// The folder that its services run in, as it is written and without links;
    /// none if it is the operator's.
    fn release_now(&self) -> Result<Option<(PathBuf, PathBuf)>, String> {
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        for service in &self.found.services {
            folders.extend(service.unit.directory.as_ref().map(PathBuf::from));
        }
        let mut folders = folders.into_iter().filter(|folder| folder != self.release);
        match (folders.next(), folders.next()) {
            (None, _) => Ok(None),
            (Some(one), None) => {
                let real = Moved::of(&one).real;
                Ok(Some((one, real)))
            }
            (Some(one), Some(other)) => Err(format!(
                "its services run in {} and {}; a release is one folder",
                one.display(),
                other.display()
            )),
        }
    }
}

/// Something that is moved.
struct Moved {
    /// As the units and files of variables have it.
    written: PathBuf,
    /// Without links.
    real: PathBuf,
}

impl Moved {
    fn of(written: &Path) -> Self {
        Self {
            written: written.to_owned(),
            real: std::fs::canonicalize(written).unwrap_or_else(|_| written.to_owned()),
        }
    }
}

/// A path that means itself in a shell and in `sed`.
fn plain(path: &Path) -> Result<String, String> {
    let text = path.to_str().unwrap_or("?");
    let fits = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    match text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{} has letters that no script should be trusted with; move it by hand",
            path.display()
        )),
    }
}
