//! A manifest of any bytes: it is read to an end, what is said about it is one
//! line each, and an object is the same again when its record is read.

#![no_main]

use cb_core::api::Object;
use cb_core::manifest::{self, AnyObject};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = manifest::parse("x.yaml", bytes);
    for error in &file.errors {
        let error = error.to_string();
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
    for document in file.documents {
        match document.object {
            Some(AnyObject::Tenant(of)) => same_again(&*of),
            Some(AnyObject::Application(of)) => same_again(&*of),
            Some(AnyObject::Host(of)) => same_again(&*of),
            None => assert!(!file.errors.is_empty()),
        }
    }
});

fn same_again<T: Object + PartialEq + std::fmt::Debug>(object: &T) {
    let yaml = serde_yaml::to_string(object).expect("an object can be written");
    let read: T = serde_yaml::from_str(&yaml).expect("what was written can be read");
    assert_eq!(read, *object, "{yaml:?}");
}
