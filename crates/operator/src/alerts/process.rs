//! Sends by a program of this host: a person's own, or sendmail.
//!
//! The program gets the message on its standard input, a small environment and
//! a limited time; what it prints is thrown away, as it may repeat secrets.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use cb_core::alert::Mail;
use cb_core::api::{AlertCommand, Email};
use cb_core::observed::User;
use cb_host::users::Users;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::transport::DeliveryError;

/// How long sendmail may take to queue a mail.
const SENDMAIL: Duration = Duration::from_secs(30);
/// What programs are looked for in.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Gives a message to a person's program.
pub(super) async fn command(of: &AlertCommand, message: String) -> Result<(), DeliveryError> {
    let user = Users::spawn()
        .get(of.user.as_str())
        .map_err(|error| DeliveryError(error.to_string()))?
        .ok_or_else(|| DeliveryError(format!("there is no user {}", of.user)))?;
    let mut command = Command::new(of.program.as_str());
    command.args(of.arguments.iter().map(AsRef::<str>::as_ref));
    let limit = Duration::from_secs(of.timeout_seconds.into());
    run(command, Some(user), message, limit).await
}

/// Gives a message to sendmail.
pub(super) async fn email(
    of: &Email,
    id: &str,
    host: &str,
    mail: &Mail,
) -> Result<(), DeliveryError> {
    let recipients: Vec<&str> = of.to.iter().map(AsRef::as_ref).collect();
    let date = jiff::fmt::rfc2822::to_string(&jiff::Zoned::now())
        .map_err(|error| DeliveryError(error.to_string()))?;
    // The same id for the same message: a mail server or reader that gets it
    // twice can tell.
    let text = format!(
        "From: {}\nTo: {}\nSubject: {}\nDate: {date}\nMessage-ID: <{id}@{host}>\n\
         Auto-Submitted: auto-generated\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{}",
        of.from,
        recipients.join(", "),
        mail.subject,
        mail.body
    );
    let mut command = Command::new(of.sendmail.as_str());
    command
        .args(["-oi", "-f", of.from.as_str()])
        .args(recipients);
    run(command, None, text, SENDMAIL).await
}

async fn run(
    mut command: Command,
    user: Option<User>,
    input: String,
    limit: Duration,
) -> Result<(), DeliveryError> {
    let program = command.as_std().get_program().to_owned();
    let shown = Path::new(&program).display();
    command
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(user) = user {
        // Other groups are dropped with this.
        command.uid(user.uid).gid(user.gid);
    }
    let mut child = command
        .spawn()
        .map_err(|error| DeliveryError(format!("cannot run {shown}: {error}")))?;
    let group = child.id();
    let mut stdin = child.stdin.take();
    let work = async {
        if let Some(stdin) = &mut stdin {
            // One that reads nothing may still be content.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        drop(stdin);
        child.wait().await
    };
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(DeliveryError(format!("{shown} ended with {status}"))),
        Ok(Err(error)) => Err(DeliveryError(format!("{shown}: {error}"))),
        Err(_) => {
            // What it started ends with it.
            let group = group.and_then(|id| rustix::process::Pid::from_raw(id.try_into().ok()?));
            if let Some(group) = group {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            Err(DeliveryError(format!(
                "{shown} has not ended within {} s",
                limit.as_secs()
            )))
        }
    }
}
