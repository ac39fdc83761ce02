//! The command line, and the way from it to a document and an exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::backup::{self, Read};
use crate::commands::{self, Context};
use crate::error::{Code, Error};
use crate::limits::Watch;
use crate::migrate::{self, Wanted};
use crate::open::Limits;
use crate::progress::Progress;
use crate::restore;
use crate::verify::{self, Expected};

const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  failed
   2  wrong usage, or run as root
   3  another process has the database open
   4  not a database, damaged, or written by another version of DuckDB
   5  the write-ahead log does not replay; nothing was changed
   6  the migrations contradict each other or the database; nothing was changed
   7  a migration failed; nothing was changed (with --one-by-one, see `applied`)
   8  no space left
   9  the time given was over
  10  a backup differs from what it was compared with
  11  DuckDB needs more memory than --memory-limit gives";

/// Look after one DuckDB file: one JSON document on stdout, an exit code.
#[derive(Debug, Parser)]
#[command(name = "cb-duckdb", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Shared {
    /// How much memory DuckDB may use.
    #[arg(long, global = true, default_value = "256MB", value_name = "SIZE")]
    memory_limit: String,
    /// How many threads DuckDB may use.
    #[arg(long, global = true, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Give up after this many seconds.
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Say how far it is, in lines of JSON on stderr.
    #[arg(long, global = true)]
    progress: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create an empty database where nothing is.
    Create {
        /// The new database.
        file: PathBuf,
    },
    /// Sizes, versions and tables.
    Info {
        /// The database.
        file: PathBuf,
    },
    /// The schema version that the application's table records.
    SchemaVersion {
        /// The database.
        file: PathBuf,
        /// The table that records migrations.
        #[arg(long, default_value = "schema_migrations")]
        table: String,
    },
    /// Apply the migrations that are not recorded, all or none.
    Migrate {
        /// The database.
        file: PathBuf,
        /// The folder with files like 0001_init.sql.
        #[arg(long, value_name = "DIR")]
        migrations: PathBuf,
        /// The last version to apply.
        #[arg(long)]
        target: Option<i64>,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
        /// Give every migration a transaction of its own. A failure then leaves
        /// those before it applied.
        #[arg(long)]
        one_by_one: bool,
        /// The table that records migrations.
        #[arg(long, default_value = "schema_migrations")]
        table: String,
    },
    /// Check the migrations of a release without a database.
    CheckMigrations {
        /// The folder with files like 0001_init.sql.
        dir: PathBuf,
        /// The version that a database is at: what is pending for it.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
        at: Option<i64>,
    },
    /// Write the write-ahead log into the database.
    Checkpoint {
        /// The database.
        file: PathBuf,
        /// The table that records migrations, to say the schema version too.
        #[arg(long)]
        table: Option<String>,
    },
    /// Copy a database that nobody writes, with its write-ahead log.
    Backup {
        /// The database.
        file: PathBuf,
        /// The new backup.
        to: PathBuf,
        /// Read every row of the copy before it gets its name.
        #[arg(long)]
        verify: bool,
        /// The table that records migrations, to say the schema version too.
        #[arg(long, requires = "verify")]
        table: Option<String>,
    },
    /// Read a whole backup and compare it.
    Verify {
        /// The backup.
        backup: PathBuf,
        /// The database that it must be equal to.
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        /// The content digest that it must have.
        #[arg(long)]
        digest: Option<String>,
        /// The SHA-256 that its file must have.
        #[arg(long)]
        sha256: Option<String>,
    },
    /// Make a database what a backup is, and keep what it was in a folder. Run
    /// again after a kill, it ends the same.
    Restore {
        /// The backup.
        backup: PathBuf,
        /// The database, which may be missing.
        file: PathBuf,
        /// Where the files of the database go that are there now.
        #[arg(long, value_name = "DIR")]
        aside: PathBuf,
        /// The SHA-256 that the backup's file must have.
        #[arg(long)]
        sha256: Option<String>,
        /// Do nothing if the database has the bytes of the backup already.
        #[arg(long)]
        discard_equal: bool,
        /// Do nothing if the database's content has this digest.
        #[arg(long)]
        digest: Option<String>,
    },
    /// Copy a database and its log into a folder as they are, without opening
    /// them in DuckDB.
    Quarantine {
        /// The database.
        file: PathBuf,
        /// The folder.
        dir: PathBuf,
    },
    /// A digest of the content that does not depend on the order of rows.
    Digest {
        /// The database.
        file: PathBuf,
    },
}

/// Runs the program: reads the command line, prints one document.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match rustix::process::geteuid().is_root() {
        true => Err(Error::Root),
        false => execute(arguments),
    };
    let (document, code) = match result {
        Ok(document) => (document, Code::Done),
        Err(error) => (error.document(), error.code()),
    };
    println!("{document}");
    ExitCode::from(code as u8)
}

fn execute(Arguments { shared, command }: Arguments) -> Result<Value, Error> {
    let file = command.file();
    let path = absolute(file)?;
    let watch = Watch::start(path.clone(), shared.timeout);
    let context = Context {
        limits: Limits {
            memory: shared.memory_limit,
            threads: shared.threads,
        },
        watch: watch.clone(),
        progress: Progress {
            wanted: shared.progress,
        },
    };
    dispatch(command, &path, &context).map_err(|error| watch.judge(error))
}

fn dispatch(command: Command, path: &Path, context: &Context) -> Result<Value, Error> {
    match command {
        Command::Create { .. } => commands::create(path, context),
        Command::Info { .. } => commands::info(path, context),
        Command::SchemaVersion { table, .. } => migrate::schema_version(path, &table, context),
        Command::Migrate {
            migrations,
            target,
            dry_run,
            one_by_one,
            table,
            ..
        } => {
            let wanted = Wanted {
                folder: migrations,
                table,
                target,
                dry_run,
                one_by_one,
            };
            migrate::migrate(path, &wanted, context)
        }
        Command::CheckMigrations { at, .. } => migrate::check(path, at),
        Command::Checkpoint { table, .. } => commands::checkpoint(path, table.as_deref(), context),
        Command::Backup {
            to, verify, table, ..
        } => {
            let to = absolute(&to)?;
            let read = verify.then_some(Read { table });
            backup::backup(path, &to, read.as_ref(), context)
        }
        Command::Verify {
            against,
            digest,
            sha256,
            ..
        } => {
            let expected = Expected {
                against,
                digest,
                sha256,
            };
            verify::verify(path, &expected, context)
        }
        Command::Restore {
            file,
            aside,
            sha256,
            discard_equal,
            digest,
            ..
        } => {
            let wanted = restore::Wanted {
                file: absolute(&file)?,
                aside: absolute(&aside)?,
                sha256,
                discard_equal,
                digest,
            };
            restore::restore(path, &wanted, context)
        }
        Command::Quarantine { dir, .. } => restore::quarantine(path, &absolute(&dir)?, context),
        Command::Digest { .. } => verify::digest(path, context),
    }
}

impl Command {
    fn file(&self) -> &Path {
        match self {
            Command::Create { file }
            | Command::Info { file }
            | Command::SchemaVersion { file, .. }
            | Command::Migrate { file, .. }
            | Command::CheckMigrations { dir: file, .. }
            | Command::Checkpoint { file, .. }
            | Command::Backup { file, .. }
            | Command::Verify { backup: file, .. }
            | Command::Restore { backup: file, .. }
            | Command::Quarantine { file, .. }
            | Command::Digest { file } => file,
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|source| Error::io("finding", path, source))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|limit| !limit.is_zero())
        .ok_or_else(|| "must be above 0".to_owned())
}
