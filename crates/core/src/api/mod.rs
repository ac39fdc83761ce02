//! The objects: `Tenant`, `Application` and `Host`, group
//! `campaignbrain.io`, version `v1alpha1`.
//!
//! They have Kubernetes' shape and follow its API conventions
//! (<https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md>).
//! Every field's documentation here is its description in the generated
//! schemas and in the reference. Unknown fields are errors.

mod alerts;
mod application;
mod host;
mod meta;
mod sandbox;
mod secret;
mod source;
mod tenant;
mod tenant_status;

pub use alerts::*;
pub use application::*;
pub use host::*;
pub use meta::*;
pub use sandbox::*;
pub use secret::*;
pub use source::*;
pub use tenant::*;
pub use tenant_status::*;

/// The API group of every object.
pub const GROUP: &str = "campaignbrain.io";
/// The version of the API group.
pub const VERSION: &str = "v1alpha1";
/// What `apiVersion` says in every object.
pub const API_VERSION: &str = "campaignbrain.io/v1alpha1";
