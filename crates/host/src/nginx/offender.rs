//! Which of several sites nginx rejects.
//!
//! nginx names one file and stops. The file it names is tried without first,
//! because that is nearly always right; if the name does not help (two sites
//! that do not go together, say), the candidates are halved until the offender
//! is alone. Candidates that are live come before changes, so of two that do
//! not go together the live one stays.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::SiteError;

/// Sites by name over what is in the folder; `None` is a site removed.
pub(super) type Overlay = BTreeMap<String, Option<Vec<u8>>>;

/// What nginx says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    /// Rejected, with its words and the site it names, if it names one.
    Rejected {
        message: String,
        named: Option<String>,
    },
}

/// Tests nginx's whole configuration with an overlay on the sites folder.
#[async_trait]
pub(super) trait Tester: Send + Sync {
    async fn test(&self, overlay: &Overlay) -> Result<Verdict, SiteError>;
}

/// What may go live and what may not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// Changes that nginx accepts, all together.
    pub(super) accepted: Overlay,
    /// Changes that it does not, with its words.
    pub(super) rejected: BTreeMap<String, String>,
    /// Live sites of ours that it no longer accepts, with its words.
    pub(super) set_aside: BTreeMap<String, String>,
}

/// Sorts changes into those that nginx accepts and those that it does not.
/// `own` are the live sites that carry our mark.
pub(super) async fn judge(
    tester: &dyn Tester,
    own: &Overlay,
    changes: Overlay,
) -> Result<Judged, SiteError> {
    if let Verdict::Accepted = tester.test(&changes).await? {
        return Ok(Judged {
            accepted: changes,
            ..Judged::default()
        });
    }
    if let Verdict::Accepted = tester.test(&Overlay::new()).await? {
        let candidates = changes.into_iter().collect();
        let mut search = Search::new(tester, Overlay::new());
        search.sort(candidates).await?;
        return Ok(Judged {
            accepted: search.good,
            rejected: search.bad,
            set_aside: BTreeMap::new(),
        });
    }
    without_live_offenders(tester, own, changes).await
}

/// The live configuration is broken. If it is without our sites too, it is not
/// ours to repair.
async fn without_live_offenders(
    tester: &dyn Tester,
    own: &Overlay,
    changes: Overlay,
) -> Result<Judged, SiteError> {
    let bare: Overlay = own.keys().map(|name| (name.clone(), None)).collect();
    if let Verdict::Rejected { message, .. } = tester.test(&bare).await? {
        return Err(SiteError::BrokenBefore { message });
    }
    let live = own.clone().into_iter();
    let unchanged = live.filter(|(name, _)| !changes.contains_key(name));
    let mut search = Search::new(tester, bare);
    search.sort(unchanged.collect()).await?;
    let mut set_aside = std::mem::take(&mut search.bad);
    search.sort(changes.clone().into_iter().collect()).await?;
    let rejected = std::mem::take(&mut search.bad);
    // A rejected change keeps its last good site, if that is still good.
    let last = rejected
        .keys()
        .filter_map(|name| Some((name.clone(), own.get(name)?.clone())));
    search.sort(last.collect()).await?;
    set_aside.append(&mut search.bad);
    let accepted = changes
        .into_iter()
        .filter(|(name, _)| !rejected.contains_key(name))
        .collect();
    Ok(Judged {
        accepted,
        rejected,
        set_aside,
    })
}

struct Search<'a> {
    tester: &'a dyn Tester,
    /// What is accepted so far, all together.
    good: Overlay,
    bad: BTreeMap<String, String>,
}

type Candidate = (String, Option<Vec<u8>>);

impl<'a> Search<'a> {
    fn new(tester: &'a dyn Tester, good: Overlay) -> Self {
        Self {
            tester,
            good,
            bad: BTreeMap::new(),
        }
    }

    /// Moves each candidate to the good or the bad ones.
    async fn sort(&mut self, candidates: Vec<Candidate>) -> Result<(), SiteError> {
        let mut stack = vec![candidates];
        while let Some(mut group) = stack.pop() {
            while !group.is_empty() {
                let mut with = self.good.clone();
                with.extend(group.iter().cloned());
                let (message, named) = match self.tester.test(&with).await? {
                    Verdict::Accepted => {
                        self.good = with;
                        break;
                    }
                    Verdict::Rejected { message, named } => (message, named),
                };
                let is_named = |(name, _): &Candidate| Some(name) == named.as_ref();
                let alone = group.len() == 1;
                match group.iter().position(is_named) {
                    Some(index) => drop(self.bad.insert(group.remove(index).0, message)),
                    None if alone => drop(self.bad.insert(group.remove(0).0, message)),
                    None => {
                        let second = group.split_off(group.len() / 2);
                        stack.push(second);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    /// An nginx that rejects contents that say `bad`, names the file if they
    /// say `named`, and allows one content `only` in all.
    struct Fake {
        live: Overlay,
        foreign_broken: bool,
        tests: Mutex<u32>,
    }

    impl Fake {
        fn new(live: &[(&str, &str)]) -> Self {
            Self {
                live: overlay(live),
                foreign_broken: false,
                tests: Mutex::new(0),
            }
        }
    }

    fn overlay(sites: &[(&str, &str)]) -> Overlay {
        let site = |(name, content): &(&str, &str)| {
            let content = (*content != "-").then(|| content.as_bytes().to_vec());
            ((*name).to_owned(), content)
        };
        sites.iter().map(site).collect()
    }

    fn verdict(all: &Overlay) -> Verdict {
        let mut only = 0;
        for (name, content) in all {
            let content = String::from_utf8_lossy(content.as_deref().unwrap_or_default());
            only += u32::from(content.contains("only"));
            if content.contains("bad") || only > 1 {
                return Verdict::Rejected {
                    message: format!("wrong with {name}"),
                    named: content.contains("named").then(|| name.clone()),
                };
            }
        }
        Verdict::Accepted
    }

    #[async_trait]
    impl Tester for Fake {
        async fn test(&self, changes: &Overlay) -> Result<Verdict, SiteError> {
            *self.tests.lock().unwrap() += 1;
            if self.foreign_broken {
                return Ok(Verdict::Rejected {
                    message: "nginx.conf".to_owned(),
                    named: None,
                });
            }
            let mut all = self.live.clone();
            all.extend(changes.clone());
            Ok(verdict(&all))
        }
    }

    async fn judged(fake: &Fake, changes: &[(&str, &str)]) -> Judged {
        judge(fake, &fake.live, overlay(changes)).await.unwrap()
    }

    fn names<T>(map: &BTreeMap<String, T>) -> Vec<&str> {
        map.keys().map(String::as_str).collect()
    }

    /// Law 4.
    #[tokio::test]
    async fn a_bad_site_keeps_no_other_from_going_live() {
        for bad in ["bad named", "bad"] {
            let fake = Fake::new(&[("a", "ok"), ("b", "old")]);
            let changes = [("b", bad), ("c", "ok"), ("d", "ok"), ("e", "ok")];
            let judged = judged(&fake, &changes).await;
            assert_eq!(names(&judged.accepted), ["c", "d", "e"]);
            assert_eq!(judged.rejected["b"], "wrong with b");
            assert!(judged.set_aside.is_empty());
        }
    }

    #[tokio::test]
    async fn of_two_that_do_not_go_together_the_live_one_stays() {
        let fake = Fake::new(&[("b", "only")]);
        // The new one is read first, so nginx complains about the live one.
        let judged = judged(&fake, &[("a", "only"), ("c", "ok")]).await;
        assert_eq!(names(&judged.accepted), ["c"]);
        assert_eq!(names(&judged.rejected), ["a"]);
        assert!(judged.set_aside.is_empty());
    }

    #[tokio::test]
    async fn what_is_broken_without_us_is_left_alone() {
        let mut fake = Fake::new(&[("a", "ok")]);
        fake.foreign_broken = true;
        let error = judge(&fake, &fake.live, overlay(&[("b", "ok")])).await;
        let message = "nginx.conf".to_owned();
        assert_eq!(error, Err(SiteError::BrokenBefore { message }));
    }

    #[tokio::test]
    async fn a_live_site_that_broke_is_set_aside_for_the_others() {
        let fake = Fake::new(&[("a", "bad"), ("b", "ok"), ("c", "bad")]);
        let judged = judged(&fake, &[("b", "new"), ("c", "bad again"), ("d", "-")]).await;
        assert_eq!(names(&judged.accepted), ["b", "d"]);
        assert_eq!(names(&judged.rejected), ["c"]);
        assert_eq!(names(&judged.set_aside), ["a", "c"]);
    }

    #[tokio::test]
    async fn one_good_run_takes_one_test() {
        let fake = Fake::new(&[]);
        judged(&fake, &[("a", "ok"), ("b", "ok")]).await;
        assert_eq!(*fake.tests.lock().unwrap(), 1);
    }

    fn site() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["ok", "bad", "bad named", "only", "-"])
    }

    fn sites() -> impl Strategy<Value = BTreeMap<String, &'static str>> {
        prop::collection::btree_map("[a-h]", site(), 0..8)
    }

    proptest! {
        /// Law 4: whatever is asked, what goes live is accepted as a whole, and
        /// every change has an answer.
        #[test]
        fn what_goes_live_is_always_accepted(live in sites(), changes in sites()) {
            let pairs = |sites: &BTreeMap<String, &'static str>| {
                let pairs = sites.iter().map(|(n, c)| (n.as_str(), *c)).collect::<Vec<_>>();
                overlay(&pairs)
            };
            let mut fake = Fake::new(&[]);
            fake.live = pairs(&live).into_iter().filter(|(_, c)| c.is_some()).collect();
            let changes = pairs(&changes);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let judged = runtime.block_on(judge(&fake, &fake.live, changes.clone())).unwrap();
            let mut after = fake.live.clone();
            after.retain(|name, _| !judged.set_aside.contains_key(name));
            after.extend(judged.accepted.clone());
            prop_assert_eq!(verdict(&after), Verdict::Accepted);
            for name in changes.keys() {
                prop_assert!(judged.accepted.contains_key(name) != judged.rejected.contains_key(name));
            }
        }
    }
}
