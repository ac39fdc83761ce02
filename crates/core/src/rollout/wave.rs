//! How many tenants a wave has.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of tenants, or a share of all; written `2` or `10%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaveSize {
    /// So many.
    Count(NonZeroU32),
    /// So many of a hundred, rounded up: 1 to 100.
    Percent(u8),
}

impl WaveSize {
    /// How many of this many tenants; at least 1.
    #[must_use]
    pub fn of(self, all: usize) -> usize {
        match self {
            WaveSize::Count(count) => usize::try_from(count.get()).unwrap_or(usize::MAX),
            WaveSize::Percent(percent) => (all * usize::from(percent)).div_ceil(100).max(1),
        }
    }
}

impl Default for WaveSize {
    fn default() -> Self {
        WaveSize::Percent(10)
    }
}

/// Why a text is no [`WaveSize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a number of tenants from 1, or a share from 1% to 100%")]
pub struct NoWaveSize;

impl FromStr for WaveSize {
    type Err = NoWaveSize;

    fn from_str(text: &str) -> Result<Self, NoWaveSize> {
        let size = match text.strip_suffix('%') {
            None => text.parse().ok().map(WaveSize::Count),
            Some(share) => {
                let share = share.parse().ok();
                share
                    .filter(|share| (1..=100).contains(share))
                    .map(WaveSize::Percent)
            }
        };
        size.ok_or(NoWaveSize)
    }
}

impl fmt::Display for WaveSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaveSize::Count(count) => write!(f, "{count}"),
            WaveSize::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for WaveSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            WaveSize::Count(count) => serializer.serialize_u32(count.get()),
            WaveSize::Percent(_) => serializer.collect_str(self),
        }
    }
}

/// As Kubernetes' `IntOrString`: `2`, `"2"` and `"10%"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for WaveSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match NumberOrText::deserialize(deserializer) {
            Ok(NumberOrText::Number(number)) => number.to_string(),
            Ok(NumberOrText::Text(text)) => text,
            // serde would name the variants, which nobody has to know.
            Err(_) => String::new(),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_or_a_share() {
        let size = |text: &str| text.parse::<WaveSize>();
        assert_eq!(size("2").unwrap().of(5), 2);
        assert_eq!(size("10%").unwrap().of(5), 1);
        assert_eq!(size("10%").unwrap().of(11), 2);
        assert_eq!(size("100%").unwrap().of(7), 7);
        for text in ["", "0", "0%", "101%", "-1", "%", "ten", "1.5"] {
            assert_eq!(size(text), Err(NoWaveSize), "{text}");
        }
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for (text, written) in [("2", "2"), ("'2'", "2"), ("10%", "10%")] {
            let size: WaveSize = serde_yaml::from_str(text).unwrap();
            assert_eq!(serde_yaml::to_string(&size).unwrap().trim(), written);
        }
        let error = serde_yaml::from_str::<WaveSize>("[1]").unwrap_err();
        assert!(error.to_string().contains("from 1% to 100%"), "{error}");
    }
}
