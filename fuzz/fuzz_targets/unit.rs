//! What is in a unit is what went in, word for word.

#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use cb_core::manifest::AnyObject;
use cb_hostile::{unit, world};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    command: Option<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    version: Option<String>,
}

fuzz_target!(|input: Input| {
    let mut application = world::application();
    let service = &mut application.spec.services[0];
    // What a type refuses does not get here.
    if let Some(Ok(command)) = input.command.map(|text| text.parse()) {
        service.command = command;
    }
    service.args = input
        .args
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    let env = input.env.iter();
    let env = env.filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)));
    service.env = env.collect();
    let (args, env) = (service.args.clone(), service.env.clone());
    let command = service.command.clone();
    if let Some(Ok(version)) = input.version.map(|text| text.parse()) {
        application.spec.versions[0].name = version;
    }
    let version = application.spec.versions[0].name.clone();
    let object = AnyObject::Application(Arc::new(application));
    let files = world::files(&object, "secret").expect("the objects fit together");
    let of_api = |(path, _): &&(std::path::PathBuf, String)| path.ends_with("ky04-api.service");
    let (_, text) = files.iter().find(of_api).expect("the unit of the service");
    let settings = unit::read(text).expect(text);
    let of = |key: &'static str| settings.iter().filter(move |setting| setting.key == key);

    let exec: Vec<_> = of("ExecStart").collect();
    assert_eq!(exec.len(), 1, "{text}");
    assert!(exec[0].specials.is_empty(), "{text}");
    let (program, words) = exec[0].words.split_first().expect(text);
    assert_eq!(
        *program,
        format!("/var/lib/cb/releases/cbapp/{version}/{command}")
    );
    assert_eq!(words.len(), args.len(), "{text}");
    for (word, arg) in words.iter().zip(&args) {
        // `$(NAME)` stands for something else, and is tested elsewhere.
        assert!(
            word == arg.as_str() || arg.as_str().contains("$("),
            "{text}"
        );
    }
    for (name, value) in &env {
        let wanted = format!("{name}={value}");
        let found = of("Environment").any(|setting| setting.words == [wanted.as_str()]);
        assert!(
            found || value.as_str().contains("$("),
            "{wanted:?} in {text}"
        );
    }
    assert!(
        of("Environment").all(|setting| setting.specials.is_empty()),
        "{text}"
    );
    let harmless = world::files(&AnyObject::Application(Arc::new(world::application())), "");
    let harmless = harmless.expect("the bases fit together");
    let (_, harmless) = harmless
        .iter()
        .find(of_api)
        .expect("the unit of the service");
    let keys = |text: &str| {
        let settings = unit::read(text).expect(text).into_iter();
        let settings = settings.filter(|setting| setting.key != "Environment");
        settings.map(|s| (s.section, s.key)).collect::<Vec<_>>()
    };
    assert_eq!(keys(text), keys(harmless));
});
