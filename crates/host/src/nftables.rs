//! The table of rules in the kernel, through the program `nft`.
//!
//! [`load`] replaces the table in one transaction: at every moment the kernel
//! has the old rules or the new ones. [`list`] is for telling whether somebody
//! changed it: what it gives is compared with what it gave after the load.

use std::process::Stdio;

use cb_core::network::{MARK, TABLE};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Why the table is not as it should be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NftError {
    /// There is no nftables.
    #[error(
        "cannot run nft: it is not installed; install the package nftables, or set network.isolation to Off in the Host"
    )]
    Missing,
    /// The program cannot be run.
    #[error("cannot run nft: {0}")]
    Run(String),
    /// The program failed.
    #[error("nft failed: {0}")]
    Failed(String),
    /// The table is somebody else's.
    #[error(
        "the table {TABLE} is there without the operator's mark; it is not touched. Remove it, or set network.isolation to Off in the Host"
    )]
    Conflict,
}

/// The table as the kernel has it; `None` if there is none.
///
/// # Errors
/// See [`NftError`]; a table without our mark is a conflict.
pub async fn list() -> Result<Option<String>, NftError> {
    let mut arguments = vec!["--stateless", "--numeric", "list", "table"];
    arguments.extend(TABLE.split(' '));
    match nft(&arguments, "").await {
        Ok(table) if is_ours(&table) => Ok(Some(table)),
        Ok(_) => Err(NftError::Conflict),
        Err(NftError::Failed(why)) if why.contains("No such file or directory") => Ok(None),
        Err(error) => Err(error),
    }
}

/// The program's version, in its words.
///
/// # Errors
/// See [`NftError`].
pub async fn version() -> Result<String, NftError> {
    let version = nft(&["--version"], "").await?;
    Ok(version.trim().to_owned())
}

/// Replaces the table, unless it is somebody else's. Returns it as the kernel
/// has it afterwards.
///
/// # Errors
/// See [`NftError`]; the table is as it was then.
pub async fn load(rules: &str) -> Result<Option<String>, NftError> {
    list().await?;
    nft(&["--file", "-"], rules).await?;
    list().await
}

/// Removes the table, if it is ours.
///
/// # Errors
/// See [`NftError`]. That there is no nftables is no error.
pub async fn remove() -> Result<(), NftError> {
    match list().await {
        Ok(Some(_)) => {
            let arguments: Vec<&str> = ["delete", "table"]
                .into_iter()
                .chain(TABLE.split(' '))
                .collect();
            nft(&arguments, "").await.map(drop)
        }
        Ok(None) | Err(NftError::Missing | NftError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The first line after the table's name says whose it is.
fn is_ours(table: &str) -> bool {
    table
        .lines()
        .nth(1)
        .is_some_and(|line| line.trim() == format!("comment \"{MARK}\""))
}

async fn nft(arguments: &[&str], input: &str) -> Result<String, NftError> {
    let run = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => NftError::Missing,
        _ => NftError::Run(error.to_string()),
    };
    let mut child = Command::new("nft")
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(false)
        .spawn()
        .map_err(run)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails before it has read everything says why.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(run)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(NftError::Failed(match words.trim() {
        "" => output.status.to_string(),
        words => crate::text::one_line(words),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 3.
    #[test]
    fn a_table_is_ours_by_its_mark_and_not_by_its_name() {
        let ours = format!("table {TABLE} {{\n\tcomment \"{MARK}\"\n\tset ports {{\n\t}}\n}}\n");
        assert!(is_ours(&ours));
        assert!(!is_ours(&format!("table {TABLE} {{\n}}\n")));
        assert!(!is_ours(&format!(
            "table {TABLE} {{\n\tchain x {{\n\t\tcomment \"{MARK}\"\n\t}}\n}}\n"
        )));
    }
}
