use super::*;
use crate::api::Tls;

fn tenant(acme: bool, domains: &str) -> Tenant {
    let text = format!(
        "apiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\nmetadata: {{name: ky04}}\n\
         spec: {{application: cbapp, version: v1, domains: [{domains}]}}"
    );
    let mut tenant: Tenant = serde_yaml::from_str(&text).unwrap();
    tenant.spec.tls = Some(Tls {
        acme,
        ..Tls::default()
    });
    tenant
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn pair(names: &str, until: i64, expired: bool) -> Pair {
    Pair {
        facts: Facts {
            not_before: at(0),
            not_after: at(until),
            names: names.split(' ').map(str::to_owned).collect(),
            expired,
        },
        pem: Secret::new(format!("{names} {until}")),
    }
}

fn seen(given: Option<Result<Pair, &str>>, kept: &[Pair]) -> Certificates {
    Certificates {
        given: given.map(|given| given.map_err(str::to_owned)),
        kept: kept.to_vec(),
    }
}

/// Which pair is chosen, by its end, and the trouble with the given one.
fn chosen(tenant: &Tenant, seen: &Certificates) -> (Option<i64>, Option<String>) {
    let choice = choose(tenant, seen);
    let until = choice.pair.map(|pair| pair.facts.not_after.as_second());
    (until, choice.trouble)
}

#[test]
fn a_wildcard_stands_for_one_label() {
    let facts = pair("a.org *.b.org", 9, false).facts;
    let covers = |domain: &str| facts.covers(&domain.parse().unwrap());
    assert!(covers("a.org") && covers("x.b.org"));
    assert!(!covers("x.a.org") && !covers("b.org") && !covers("y.x.b.org"));
}

/// Law 4: what is wrong with new files takes nothing down that was served.
#[test]
fn a_given_pair_that_is_no_good_leaves_the_one_before() {
    let tenant = tenant(false, "a.org, www.a.org");
    let good = pair("a.org www.a.org", 9, false);
    let newer = pair("a.org www.a.org", 20, false);
    let old = [good.clone()];
    assert_eq!(
        chosen(&tenant, &seen(Some(Ok(newer.clone())), &old)),
        (Some(20), None)
    );
    // A given pair may end earlier than the one before: a person chose it.
    assert_eq!(
        chosen(
            &tenant,
            &seen(Some(Ok(good.clone())), std::slice::from_ref(&newer))
        ),
        (Some(9), None)
    );
    let broken = chosen(&tenant, &seen(Some(Err("it is no pair")), &old));
    assert_eq!(broken, (Some(9), Some("it is no pair".into())));
    let (until, trouble) = chosen(&tenant, &seen(Some(Ok(pair("a.org", 20, false))), &old));
    assert_eq!(until, Some(9));
    assert_eq!(
        trouble.as_deref(),
        Some("it is not for www.a.org, but for a.org")
    );
    let (until, trouble) = chosen(
        &tenant,
        &seen(Some(Ok(pair("a.org www.a.org", 3, true))), &old),
    );
    assert_eq!(until, Some(9));
    assert!(trouble.unwrap().starts_with("it has expired"));
    // Without any other, one that has expired is better than none.
    let expired = seen(Some(Ok(pair("a.org www.a.org", 3, true))), &[]);
    assert_eq!(chosen(&tenant, &expired), (Some(3), None));
    // The longest valid one of those that are for the domains.
    let kept = [good, pair("b.org", 99, false), newer];
    assert_eq!(chosen(&tenant, &seen(Some(Err("x")), &kept)).0, Some(20));
    assert_eq!(chosen(&tenant, &seen(Some(Err("x")), &kept[1..2])).0, None);
}

#[test]
fn an_issued_pair_may_be_for_a_part_of_the_domains() {
    let tenant = tenant(true, "a.org, www.a.org");
    assert_eq!(chosen(&tenant, &seen(None, &[])), (None, None));
    let part = seen(Some(Ok(pair("a.org", 9, false))), &[]);
    assert_eq!(chosen(&tenant, &part), (Some(9), None));
    let other = seen(Some(Ok(pair("b.org", 9, false))), &[]);
    assert_eq!(chosen(&tenant, &other), (None, None));
}

#[test]
fn what_is_said_of_a_certificate() {
    let files = tenant(false, "a.org");
    let acme = tenant(true, "a.org, www.a.org");
    let warn = SignedDuration::from_secs(10);
    let failed = Issuing::Failed("no DNS".into());
    let whole = pair("a.org www.a.org", 100, false).facts;
    let part = pair("a.org", 100, false).facts;
    let judge = |tenant: &Tenant, served: Option<&Facts>, trouble, issuing: &Issuing, now| {
        let verdict = judge(tenant, (served, trouble), issuing, warn, at(now));
        (verdict.reason, verdict.message)
    };
    let quiet = &Issuing::Quiet;
    let until = "1970-01-01T00:01:40Z";
    let cases = [
        (
            judge(&files, Some(&whole), None, quiet, 50),
            ("Valid", format!("it is valid until {until}")),
        ),
        (
            judge(&files, Some(&whole), None, quiet, 95),
            ("CertificateExpiring", format!("it expires on {until}")),
        ),
        (
            judge(&files, Some(&whole), Some("x"), quiet, 100),
            ("CertificateExpired", format!("it expired on {until}; x")),
        ),
        (
            judge(&files, Some(&whole), Some("x"), quiet, 95),
            (
                "CertificateInvalid",
                format!("x; the certificate before is served, which is valid until {until}"),
            ),
        ),
        (
            judge(&files, None, Some("x"), quiet, 0),
            (
                "CertificateInvalid",
                "no certificate can be served: x".into(),
            ),
        ),
        (
            judge(&acme, None, None, quiet, 0),
            (
                "CertificatePending",
                "the site is served over HTTP until there is a certificate".into(),
            ),
        ),
        (
            judge(&acme, Some(&part), None, quiet, 0),
            (
                "CertificatePending",
                "www.a.org: served over HTTP until there is a certificate".into(),
            ),
        ),
        (
            judge(&acme, Some(&whole), None, &failed, 50),
            (
                "CertificateNotIssued",
                format!("it is valid until {until}, but the last order failed: no DNS"),
            ),
        ),
        (
            judge(&acme, Some(&whole), None, &failed, 95),
            (
                "CertificateExpiring",
                format!("it expires on {until}; the last order failed: no DNS"),
            ),
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
    let (reason, _) = judge(
        &files,
        Some(&pair("a.org", 20, false).facts),
        None,
        quiet,
        14,
    );
    assert_eq!(reason, "Valid");
    let (reason, message) = judge(&acme, None, None, &failed, 0);
    assert_eq!(reason, "CertificateNotIssued");
    assert!(message.contains("no DNS") && message.contains("over HTTP"));
}

#[test]
fn a_renewal_is_at_about_two_thirds_and_not_for_all_at_once() {
    let day = 86_400;
    let facts = pair("a.org", 90 * day, false).facts;
    let times: Vec<i64> = (0..100)
        .map(|n| renewal(&format!("t{n}"), &facts).as_second())
        .collect();
    assert!(times.iter().all(|at| (51 * day..=60 * day).contains(at)));
    let spread = times.iter().max().unwrap() - times.iter().min().unwrap();
    assert!(spread > 5 * day, "{spread}");
    assert_eq!(renewal("t0", &facts).as_second(), times[0]);
}
