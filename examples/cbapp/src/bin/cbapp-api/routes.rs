//! The api over HTTP: checks what comes in, calls [`Database`] and [`Uploads`]
//! on a blocking thread, and turns results into JSON and status codes.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cbapp::fault::Fault;
use cbapp::messages::{Contact, Count, Failure, NewContact, Upload};
use cbapp::names::contact_name;
use cbapp::serve::describe;
use cbapp::settings::Tenant;
use serde_json::{Value, json};

use crate::database::{Database, DatabaseError};
use crate::uploads::{MAX_UPLOAD, UploadError, Uploads};

/// Everything that requests need.
#[derive(Debug)]
pub(crate) struct Api {
    /// Whose api this is.
    pub(crate) tenant: Tenant,
    /// The running release's version.
    pub(crate) version: String,
    /// The tenant's database.
    pub(crate) database: Database,
    /// The tenant's uploads.
    pub(crate) uploads: Uploads,
    /// The shared LLM service's URL.
    pub(crate) ollama_url: Option<String>,
    /// The shared voter database's file.
    pub(crate) i360: Option<PathBuf>,
    /// The test knob.
    pub(crate) fault: Option<Fault>,
}

/// The routes of the api.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let upload = get(read_upload)
        .post(store_upload)
        .layer(DefaultBodyLimit::max(MAX_UPLOAD));
    Router::new()
        .route("/health", get(health))
        .route("/api/info", get(info))
        .route("/api/contacts", get(list_contacts).post(add_contact))
        .route("/api/contacts/count", get(count_contacts))
        .route("/api/uploads", get(list_uploads))
        .route("/api/uploads/{name}", upload)
        .with_state(api)
}

async fn health(State(api): State<Arc<Api>>) -> Response {
    let schema = blocking(&api, |api| Ok(api.database.schema_version()?)).await;
    let mut body = json!({ "tenant": api.tenant.slug, "version": api.version });
    let reason = match schema {
        _ if api.fault == Some(Fault::Unhealthy) => "the test knob asks for it".to_owned(),
        Ok(version) => {
            body["status"] = json!("ok");
            body["schemaVersion"] = json!(version);
            return Json(body).into_response();
        }
        Err(error) => error.message(),
    };
    body["status"] = json!("unavailable");
    body["reason"] = json!(reason);
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

async fn info(State(api): State<Arc<Api>>) -> Result<Json<Value>, ApiError> {
    let i360 = blocking(&api, |api| {
        let Some(path) = &api.i360 else {
            return Ok(json!({ "configured": false, "readable": false }));
        };
        // Unreadable voters are a fact to report, not a failure of the api.
        Ok(match api.database.count_voters(path) {
            Ok(voters) => json!({ "configured": true, "readable": true, "voters": voters }),
            Err(error) => {
                json!({ "configured": true, "readable": false, "reason": describe(&error) })
            }
        })
    })
    .await?;
    Ok(Json(json!({
        "tenant": api.tenant.slug,
        "displayName": api.tenant.display_name,
        "version": api.version,
        "ollamaUrl": api.ollama_url,
        "i360": i360,
    })))
}

async fn list_contacts(State(api): State<Arc<Api>>) -> Result<Json<Vec<Contact>>, ApiError> {
    blocking(&api, |api| Ok(api.database.contacts()?))
        .await
        .map(Json)
}

async fn count_contacts(State(api): State<Arc<Api>>) -> Result<Json<Count>, ApiError> {
    let count = blocking(&api, |api| Ok(api.database.count_contacts()?)).await?;
    Ok(Json(Count { count }))
}

async fn add_contact(
    State(api): State<Arc<Api>>,
    body: Result<Json<NewContact>, JsonRejection>,
) -> Result<(StatusCode, Json<Contact>), ApiError> {
    let Json(new) = body.map_err(|error| ApiError::Request(error.status(), error.body_text()))?;
    let name = contact_name(&new.name)
        .map_err(|error| ApiError::Request(StatusCode::BAD_REQUEST, error.to_string()))?
        .to_owned();
    let contact = blocking(&api, move |api| Ok(api.database.add_contact(&name)?)).await?;
    Ok((StatusCode::CREATED, Json(contact)))
}

async fn list_uploads(State(api): State<Arc<Api>>) -> Result<Json<Vec<Upload>>, ApiError> {
    blocking(&api, |api| Ok(api.uploads.list()?))
        .await
        .map(Json)
}

async fn read_upload(
    State(api): State<Arc<Api>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(name) = name.map_err(|error| ApiError::Request(error.status(), error.body_text()))?;
    let content = blocking(&api, move |api| Ok(api.uploads.read(&name)?)).await?;
    // A tenant's upload must never run as a page of the tenant's site.
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, content).into_response())
}

async fn store_upload(
    State(api): State<Arc<Api>>,
    name: Result<Path<String>, PathRejection>,
    content: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Upload>), ApiError> {
    let Path(name) = name.map_err(|error| ApiError::Request(error.status(), error.body_text()))?;
    let content = content.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::Request(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("an upload has at most {MAX_UPLOAD} bytes"),
        ),
        status => ApiError::Request(status, error.body_text()),
    })?;
    let upload = blocking(&api, move |api| Ok(api.uploads.store(&name, &content)?)).await?;
    Ok((StatusCode::CREATED, Json(upload)))
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    api: &Arc<Api>,
    work: impl FnOnce(&Api) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let api = Arc::clone(api);
    tokio::task::spawn_blocking(move || work(&api))
        .await
        .map_err(ApiError::Task)?
}

/// Why a request fails; its answer is a status code and a [`Failure`].
#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error("{1}")]
    Request(StatusCode, String),
    // Boxed, as it is several times as large as the others.
    #[error(transparent)]
    Database(Box<DatabaseError>),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error("the request could not be finished")]
    Task(#[source] tokio::task::JoinError),
}

impl From<DatabaseError> for ApiError {
    fn from(error: DatabaseError) -> ApiError {
        ApiError::Database(Box::new(error))
    }
}

impl ApiError {
    fn message(&self) -> String {
        describe(self)
    }

    fn status(&self) -> StatusCode {
        match self {
            ApiError::Request(status, _) => *status,
            ApiError::Database(_) => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::Upload(UploadError::Name(_)) => StatusCode::BAD_REQUEST,
            ApiError::Upload(UploadError::NotFound(_)) => StatusCode::NOT_FOUND,
            ApiError::Upload(_) | ApiError::Task(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error) = (self.status(), self.message());
        if status.is_server_error() {
            println!("error: {error}");
        }
        (status, Json(Failure { error })).into_response()
    }
}
