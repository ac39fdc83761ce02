//! Writes statuses beside the manifests: `ky04.yaml` gets `ky04.status.yaml`.
//!
//! A status is written only when it differs from the file (law 8), never over
//! a file that is not the operator's (law 3), and its failure never stops a
//! pass: the folder may be read-only.

use async_trait::async_trait;
use cb_core::api::TenantStatus;
use cb_core::record::Record;

/// Where statuses go.
#[async_trait]
pub trait StatusSink: Send + Sync {
    /// Writes the status of a tenant, if it is not written already.
    async fn write(&self, record: &Record, status: &TenantStatus);
}
