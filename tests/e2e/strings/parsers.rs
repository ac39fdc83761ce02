//! Every hostile text in every field, as systemd and nginx read it (law 10).
//!
//! The fields come from the schema, so one that is added is in here too. What is
//! rendered with a text stands beside what is rendered with harmless text in the
//! same place, and both are read: they have to differ by just the text. All files
//! are on the host from the start; systemd loads a unit when it is asked about it.

mod environment;
mod sites;
mod units;
mod users;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result, ensure};
use cb_core::manifest::AnyObject;
use cb_hostile::list;
use cb_hostile::places::{self, Place};
use cb_hostile::world::{self, Files, Objects, Setting};
use cb_testhost::{Options, TestHost};

/// Where the host has the files.
const FOLDER: &str = "/srv/hostile";

/// Who reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reader {
    /// systemd, its units.
    Units,
    /// systemd, the environment of services.
    Environment,
    /// systemd-sysusers.
    Users,
    /// nginx.
    Sites,
}

/// The files that one program reads.
#[derive(Default)]
struct Shelf {
    /// Each content once, by its number.
    contents: Vec<String>,
    numbers: HashMap<String, usize>,
    /// The objects that a file was made of.
    objects: Vec<Objects>,
    cases: Vec<Case>,
}

/// A file with a hostile text in it, and what it is compared with.
struct Case {
    place: String,
    text: String,
    /// What is to be read for the text.
    comes_to: String,
    /// The harmless text.
    sample: &'static str,
    /// The file with the hostile text.
    number: usize,
    /// The file with the harmless text.
    harmless: usize,
    /// Whether the harmless text is in its file: an amount is written otherwise.
    shows: bool,
}

/// All that is to be read, and what was refused.
#[derive(Default)]
struct Library {
    shelves: BTreeMap<Reader, Shelf>,
    refused: usize,
    taken: usize,
    /// Places with a text that some program reads.
    read: BTreeSet<String>,
}

/// Law 10: systemd and nginx read each field of each object as it was written,
/// and nothing else is changed by what is written there.
#[test]
fn systemd_and_nginx_read_each_field_as_it_was_written() -> Result<()> {
    let library = Library::collected()?;
    let folder = tempfile::tempdir()?;
    library.write(folder.path())?;
    let outside = folder.path().display();
    let options = Options::new("parsers").bind_ro(outside, FOLDER).bind_ro(
        folder.path().join("units").display(),
        "/usr/local/lib/systemd/system",
    );
    let host = TestHost::boot(options)?;
    let mut faults = Vec::new();
    for (reader, shelf) in &library.shelves {
        let found = match reader {
            Reader::Units => units::faults(&host, shelf),
            Reader::Environment => environment::faults(&host, shelf),
            Reader::Users => users::faults(&host, shelf),
            Reader::Sites => sites::faults(&host, shelf),
        };
        let (files, cases) = (shelf.contents.len(), shelf.cases.len());
        println!("{reader:?}: {cases} texts in {files} files");
        faults.extend(found.with_context(|| format!("{reader:?}"))?);
    }
    let (refused, taken) = (library.refused, library.taken);
    println!(
        "{refused} refused, {taken} taken; read in {:?}",
        library.read
    );
    let count = faults.len();
    let start = |fault: &String| fault.chars().take(100).collect::<String>();
    faults.dedup_by_key(|fault| start(fault));
    faults.truncate(20);
    ensure!(count == 0, "{count} faults\n{}", faults.join("\n"));
    // They do reach what they are meant for.
    let cases = |reader| library.shelves.get(&reader).map_or(0, |s| s.cases.len());
    ensure!(cases(Reader::Units) > 1_000 && cases(Reader::Environment) > 500);
    ensure!(cases(Reader::Users) > 10 && cases(Reader::Sites) > 10);
    Ok(())
}

impl Library {
    /// Every text in every place that takes text.
    fn collected() -> Result<Library> {
        let mut library = Library::default();
        let list = list::all();
        ensure!(list.len() >= 200, "{} texts", list.len());
        let places: Vec<Place> = places::all().into_iter().filter(|p| p.free).collect();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let parts = places.chunks(places.len().div_ceil(threads));
        let read = |part: &[Place]| -> Result<Vec<_>> {
            part.iter().map(|place| taken(place, &list)).collect()
        };
        let read: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = parts.map(|part| scope.spawn(|| read(part))).collect();
            let ends = workers.into_iter().map(|worker| worker.join());
            ends.map(|end| end.expect("reading does not panic"))
                .collect()
        });
        for part in read {
            for (setting, objects) in part? {
                let place = setting.place.to_string();
                library.refused += list.len() - objects.len();
                library.fill(&setting, objects).context(place)?;
            }
        }
        library.secrets(&list)?;
        Ok(library)
    }

    fn fill(&mut self, setting: &Setting, objects: Vec<(&String, AnyObject)>) -> Result<()> {
        let wrong = |errors: Vec<String>| anyhow::anyhow!(errors.join("; "));
        let harmless = world::read(&setting.manifest(setting.sample)).map_err(wrong)?;
        let of_harmless = world::files(&harmless, "secret");
        for (text, object) in objects {
            self.taken += 1;
            match (world::files(&object, "secret"), &of_harmless) {
                (Ok(files), Ok(harmless_files)) => {
                    let with = [&object, &harmless].map(world::objects);
                    let field = Field {
                        place: setting.place.to_string(),
                        sample: setting.sample,
                        text,
                        comes_to: comes_to(&setting.place, text),
                    };
                    self.add(&field, (&files, harmless_files), with)?;
                }
                // The objects do not fit together.
                (Err(_), _) => self.refused += 1,
                (Ok(_), Err(error)) => anyhow::bail!("harmless text is refused: {error}"),
            }
        }
        Ok(())
    }

    /// What a secret's file holds is a free field too.
    fn secrets(&mut self, list: &[String]) -> Result<()> {
        let manifest = r#"{"apiVersion": "campaignbrain.io/v1alpha1", "kind": "Tenant",
            "metadata": {"name": "ky04"}, "spec": {"application": "cbapp", "version": "v1",
            "secretRefs": [{"name": "SECRET", "file": "/s", "delivery": "Environment"}]}}"#;
        let object = world::read(manifest).map_err(|errors| anyhow::anyhow!(errors.join("; ")))?;
        let sample = "zqsample";
        let harmless = world::files(&object, sample).map_err(anyhow::Error::msg)?;
        for text in list {
            let Ok(files) = world::files(&object, text.as_str()) else {
                self.refused += 1;
                continue;
            };
            self.taken += 1;
            // A final line break is removed.
            let line = text.strip_suffix('\n').unwrap_or(text);
            let field = Field {
                place: "what a secret's file holds".to_owned(),
                sample,
                text,
                comes_to: line.strip_suffix('\r').unwrap_or(line).to_owned(),
            };
            let with = [&object, &object].map(world::objects);
            self.add(&field, (&files, &harmless), with)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        field: &Field<'_>,
        (files, harmless): (&Files, &Files),
        [with, harmless_with]: [Objects; 2],
    ) -> Result<()> {
        ensure!(
            files.len() == harmless.len(),
            "{:?}: other files",
            field.text
        );
        for ((_, text), (path, of_harmless)) in files.iter().zip(harmless) {
            if text == of_harmless {
                continue;
            }
            let reader = match path.to_string_lossy().rsplit('.').next() {
                Some("service") => Reader::Units,
                Some("env") => Reader::Environment,
                Some("conf") if of_harmless.contains("server {") => Reader::Sites,
                Some("conf") => Reader::Users,
                _ => anyhow::bail!("who reads {}?", path.display()),
            };
            let shelf = self.shelves.entry(reader).or_default();
            let case = Case {
                place: field.place.clone(),
                text: field.text.to_owned(),
                comes_to: field.comes_to.clone(),
                sample: field.sample,
                number: shelf.number(text, &with),
                harmless: shelf.number(of_harmless, &harmless_with),
                shows: shows(of_harmless, field.sample),
            };
            shelf.cases.push(case);
            self.read.insert(field.place.clone());
        }
        Ok(())
    }

    /// Writes every file below a folder.
    #[allow(clippy::disallowed_methods, reason = "a temporary folder")]
    fn write(&self, folder: &std::path::Path) -> Result<()> {
        for (reader, shelf) in &self.shelves {
            let folder = folder.join(reader.folder());
            std::fs::create_dir_all(&folder)?;
            for (number, content) in shelf.contents.iter().enumerate() {
                std::fs::write(folder.join(reader.file(number)), content)?;
            }
        }
        let reading = folder.join("units/environment@.service");
        Ok(std::fs::write(reading, environment::UNIT)?)
    }
}

/// The objects with those texts that a place takes.
fn taken<'a>(place: &Place, list: &'a [String]) -> Result<(Setting, Vec<(&'a String, AnyObject)>)> {
    let setting = Setting::of(place.clone());
    let setting = setting.with_context(|| format!("{place}: no base takes text there"))?;
    let read = |text: &'a String| Some((text, world::read(&setting.manifest(text)).ok()?));
    let objects = list.iter().filter_map(read).collect();
    Ok((setting, objects))
}

/// A text in a place.
struct Field<'a> {
    place: String,
    sample: &'static str,
    text: &'a str,
    comes_to: String,
}

impl Reader {
    fn folder(self) -> &'static str {
        match self {
            Reader::Units => "units",
            Reader::Environment => "environment",
            Reader::Users => "users",
            Reader::Sites => "sites",
        }
    }

    fn file(self, number: usize) -> String {
        match self {
            Reader::Units => units::name(number),
            _ => number.to_string(),
        }
    }
}

impl Shelf {
    fn number(&mut self, content: &str, objects: &Objects) -> usize {
        if let Some(number) = self.numbers.get(content) {
            return *number;
        }
        self.contents.push(content.to_owned());
        self.objects.push(objects.clone());
        let number = self.contents.len() - 1;
        self.numbers.insert(content.to_owned(), number);
        number
    }
}

impl Case {
    /// What is to be read in the hostile file where `of` is read in the other.
    fn expected(&self, of: &str) -> String {
        self.expected_as(of, &self.comes_to)
    }

    fn expected_as(&self, of: &str, text: &str) -> String {
        of.replace(self.sample, text)
            .replace(&upper(self.sample), &upper(text))
    }

    fn fault(&self, what: &str) -> String {
        let mut text = format!("{:?}", self.text);
        if let Some((cut, _)) = text.char_indices().nth(80) {
            text.truncate(cut);
        }
        format!("{} with {text}: {what}", self.place)
    }
}

fn shows(content: &str, sample: &str) -> bool {
    content.contains(sample) || content.contains(&upper(sample))
}

/// As in the name of the variable with a service's port.
fn upper(text: &str) -> String {
    text.to_ascii_uppercase().replace('-', "_")
}

/// What a process gets for a text: `$(NAME)` stands for a variable where the
/// objects say so, and for itself elsewhere.
fn comes_to(place: &Place, text: &str) -> String {
    let expands = [
        "Application spec.services[].args[]",
        "Application spec.services[].env{}",
    ];
    match expands.contains(&place.to_string().as_str()) {
        true => text
            .replace("$(PORT)", "32300")
            .replace("$(CB_TENANT)", "ky04"),
        false => text.to_owned(),
    }
}
