//! The HTML of the tenant's page. Pure text in, text out; every value is
//! escaped here, nowhere else.

use std::fmt::Write;

use cbapp::html::escape;
use cbapp::messages::{Contact, Upload};
use cbapp::settings::Tenant;

/// What the api said.
#[derive(Debug)]
pub(crate) struct Content {
    /// How many contacts there are.
    pub(crate) count: i64,
    /// The newest contacts.
    pub(crate) contacts: Vec<Contact>,
    /// The uploaded files.
    pub(crate) uploads: Vec<Upload>,
}

/// The page with the campaign's contacts and files.
pub(crate) fn render(tenant: &Tenant, version: &str, content: &Content) -> String {
    let mut main = format!("<p><strong>{}</strong> contacts</p>\n<ul>\n", content.count);
    for Contact {
        name, created_at, ..
    } in &content.contacts
    {
        let (name, created_at) = (escape(name), escape(created_at));
        // Writing to a String cannot fail.
        let _ = writeln!(main, "<li>{name} <small>{created_at}</small></li>");
    }
    let _ = writeln!(
        main,
        "</ul>\n<p><strong>{}</strong> files</p>\n<ul>",
        content.uploads.len()
    );
    for Upload { name, size } in &content.uploads {
        let _ = writeln!(
            main,
            "<li>{} <small>{size} bytes</small></li>",
            escape(name)
        );
    }
    main.push_str("</ul>");
    frame(tenant, version, &main)
}

/// The page when the api gives no answer.
pub(crate) fn render_error(tenant: &Tenant, version: &str, reason: &str) -> String {
    let main = format!(
        "<p class=\"error\">The campaign's data cannot be shown at the moment.</p>\n<p>{}</p>",
        escape(reason)
    );
    frame(tenant, version, &main)
}

fn frame(tenant: &Tenant, version: &str, main: &str) -> String {
    let (slug, name) = (escape(&tenant.slug), escape(&tenant.display_name));
    let version = escape(version);
    format!(
        "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>{name} – Campaign Brain</title>
<style>
body {{ font-family: sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem; }}
small, footer {{ color: #666; }}
.error {{ color: #a00; }}
</style>
</head>
<body>
<h1>{name}</h1>
<main>
{main}
</main>
<footer>Campaign Brain {version}, tenant {slug}</footer>
</body>
</html>
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_escaped() {
        let hostile = "<script>alert('\"&')</script>".to_owned();
        let tenant = Tenant {
            slug: hostile.clone(),
            display_name: hostile.clone(),
        };
        let content = Content {
            count: 1,
            contacts: vec![Contact {
                id: 1,
                name: hostile.clone(),
                created_at: hostile.clone(),
            }],
            uploads: vec![Upload {
                name: hostile.clone(),
                size: 7,
            }],
        };
        let pages = [
            render(&tenant, &hostile, &content),
            render_error(&tenant, &hostile, &hostile),
        ];
        for page in pages {
            assert!(!page.contains("<script"), "{page}");
            assert!(
                page.contains("&lt;script&gt;alert(&#39;&quot;&amp;&#39;)"),
                "{page}"
            );
        }
    }
}
