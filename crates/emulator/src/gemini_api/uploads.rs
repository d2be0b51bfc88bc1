//! Uploads: resumable, raw and multipart (docs/reference/upstreams.md 5.3).
//!
//! A body is hashed while it arrives and is not held: of a resumable upload at most one granule
//! waits for the rest of it. What broke off is kept up to the last whole granule.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::gemini_api::call::{GeminiCall, UploadTarget};
use crate::gemini_api::fields;
use crate::gemini_api::files::StoredFile;
use crate::gemini_api::multipart::MultipartBody;
use crate::gemini_api::state::GeminiState;
use crate::proto::{self, ListRule, Node};
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::status::ApiError;

/// An upload that has begun.
#[derive(Debug)]
pub(crate) struct UploadSession {
    target: UploadTarget,
    version: &'static str,
    metadata: FileMetadata,
    declared: Option<u64>,
    status: UploadStatus,
    /// The bytes of whole granules.
    received: u64,
    hasher: Sha256,
    /// The start of a granule whose rest has not come yet.
    pending: Vec<u8>,
    /// The content as long as it is small.
    kept: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UploadStatus {
    Active,
    Cancelled,
    Final,
}

#[derive(Clone, Debug, Default)]
struct FileMetadata {
    name: Option<String>,
    display_name: String,
    mime_type: String,
}

impl UploadSession {
    fn new(target: UploadTarget, version: &'static str, metadata: FileMetadata) -> Self {
        Self {
            target,
            version,
            metadata,
            declared: None,
            status: UploadStatus::Active,
            received: 0,
            hasher: Sha256::new(),
            pending: Vec::new(),
            kept: Some(Vec::new()),
        }
    }

    /// Takes the next bytes of the file.
    fn take(&mut self, mut bytes: &[u8]) {
        if !self.pending.is_empty() {
            let missing = (GRANULE - self.pending.len()).min(bytes.len());
            self.pending.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.pending.len() < GRANULE {
                return;
            }
            let granule = std::mem::take(&mut self.pending);
            self.store(&granule);
        }
        let whole = bytes.len() - bytes.len() % GRANULE;
        self.store(&bytes[..whole]);
        self.pending.extend_from_slice(&bytes[whole..]);
    }

    fn store(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        match &mut self.kept {
            Some(kept) if kept.len() + bytes.len() <= CONTENT_KEPT => kept.extend_from_slice(bytes),
            kept => *kept = None,
        }
    }

    fn status_reply(&self) -> Reply {
        let status = match self.status {
            UploadStatus::Active => "active",
            UploadStatus::Cancelled => "cancelled",
            UploadStatus::Final => "final",
        };
        Reply::new(StatusCode::OK, "text/plain; charset=utf-8", Bytes::new())
            .header("x-goog-upload-status", status)
    }
}

/// What a request to an upload path does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UploadStep {
    Cancel(String),
    /// Bytes for a session, and whether they are the last.
    Data {
        id: String,
        finalize: bool,
    },
    Multipart,
    Query(String),
    Raw,
    Start,
}

impl UploadStep {
    /// The step that a request's headers and query ask for.
    fn of(request: &ApiRequest<'_>) -> Result<Self, ApiError> {
        let header = |name| text_of(request.headers, name);
        let commands: Vec<String> = header("x-goog-upload-command")
            .unwrap_or_default()
            .split(',')
            .map(|command| command.trim().to_ascii_lowercase())
            .collect();
        let has = |name: &str| commands.iter().any(|command| command == name);
        if let Some(id) = request.query("upload_id") {
            if has("query") {
                return Ok(Self::Query(id));
            }
            if has("cancel") {
                return Ok(Self::Cancel(id));
            }
            if has("upload") || has("finalize") {
                return Ok(Self::Data { id, finalize: has("finalize") });
            }
            return Err(bad("Invalid or missing X-Goog-Upload-Command."));
        }
        let protocol = header("x-goog-upload-protocol").or_else(|| request.query("uploadType"));
        match protocol.as_deref() {
            Some("resumable") if has("start") => Ok(Self::Start),
            Some("raw" | "media") => Ok(Self::Raw),
            Some("multipart") => Ok(Self::Multipart),
            _ => Err(bad("Invalid or missing X-Goog-Upload-Protocol or X-Goog-Upload-Command.")),
        }
    }

    /// Whether the request is one that carries on a session and needs no key.
    fn continues(&self) -> bool {
        matches!(self, Self::Cancel(_) | Self::Data { .. } | Self::Query(_))
    }
}

/// Where the bytes of a body go while they arrive.
#[derive(Debug)]
pub(crate) struct UploadSink {
    id: String,
}

impl UploadSink {
    pub(crate) fn take(&self, bytes: &[u8], state: &mut GeminiState) {
        if let Some(session) = state.uploads.get_mut(&self.id) {
            session.take(bytes);
        }
    }
}

/// Whether the body of an upload belongs to the whole request (`None`) or goes into a session.
pub(crate) fn sink(
    call: &GeminiCall,
    target: &UploadTarget,
    request: &ApiRequest<'_>,
    state: &mut GeminiState,
) -> Result<Option<UploadSink>, ApiError> {
    match UploadStep::of(request)? {
        UploadStep::Data { id, .. } => {
            let session = active(state, &id)?;
            session.pending.clear();
            let offset = text_of(request.headers, "x-goog-upload-offset");
            let offset = offset.and_then(|offset| offset.parse::<u64>().ok());
            if offset != Some(session.received) {
                return Err(bad(&format!(
                    "Invalid X-Goog-Upload-Offset: the next byte is {}.",
                    session.received
                )));
            }
            Ok(Some(UploadSink { id }))
        }
        UploadStep::Raw => {
            let id = raw_id(request.seq);
            let metadata = FileMetadata {
                mime_type: text_of(request.headers, "content-type").unwrap_or_default(),
                display_name: text_of(request.headers, "x-goog-upload-file-name")
                    .unwrap_or_default(),
                name: None,
            };
            let session = UploadSession::new(target.clone(), call.version, metadata);
            state.uploads.insert(id.clone(), session);
            Ok(Some(UploadSink { id }))
        }
        UploadStep::Cancel(_)
        | UploadStep::Multipart
        | UploadStep::Query(_)
        | UploadStep::Start => Ok(None),
    }
}

/// Whether the request carries on a session, for which no key is needed.
pub(super) fn continues(request: &ApiRequest<'_>) -> bool {
    UploadStep::of(request).is_ok_and(|step| step.continues())
}

/// Answers once the body has arrived.
pub(super) fn answer(
    call: &GeminiCall,
    target: &UploadTarget,
    request: &ApiRequest<'_>,
    host: &str,
    state: &mut GeminiState,
) -> Result<Reply, ApiError> {
    match UploadStep::of(request)? {
        UploadStep::Start => start(call, target, request, host, state),
        UploadStep::Query(id) => {
            let Some(session) = state.uploads.get_mut(&id) else {
                return Err(unknown_session());
            };
            session.pending.clear();
            Ok(session
                .status_reply()
                .header("x-goog-upload-size-received", &session.received.to_string())
                .header("x-goog-upload-chunk-granularity", &GRANULE.to_string()))
        }
        UploadStep::Cancel(id) => {
            let session = active(state, &id)?;
            session.status = UploadStatus::Cancelled;
            session.pending = Vec::new();
            Ok(session.status_reply())
        }
        UploadStep::Data { id, finalize: true } => finalize(&id, state),
        UploadStep::Data { id, finalize: false } => {
            let session = active(state, &id)?;
            if !session.pending.is_empty() {
                session.pending.clear();
                return Err(bad(&format!(
                    "Every chunk but the last has to be a multiple of {GRANULE} bytes."
                )));
            }
            Ok(session.status_reply())
        }
        UploadStep::Raw => finalize(&raw_id(request.seq), state),
        UploadStep::Multipart => whole(call, target, request, state),
    }
}

fn start(
    call: &GeminiCall,
    target: &UploadTarget,
    request: &ApiRequest<'_>,
    host: &str,
    state: &mut GeminiState,
) -> Result<Reply, ApiError> {
    let header = |name| text_of(request.headers, name);
    let mut metadata = metadata_of(target, request.body)?;
    if metadata.mime_type.is_empty() {
        metadata.mime_type = header("x-goog-upload-header-content-type").unwrap_or_default();
    }
    if metadata.display_name.is_empty() {
        metadata.display_name = header("x-goog-upload-file-name").unwrap_or_default();
    }
    let declared = match header("x-goog-upload-header-content-length") {
        Some(length) => Some(length.parse::<u64>().map_err(|_| ApiError::invalid_argument())?),
        None => None,
    };
    if declared.is_some_and(|declared| declared > MOST_BYTES) {
        return Err(bad("File size too large: the limit is 2147483648 bytes."));
    }
    let id = format!("emulator-upload-{:06}", request.seq);
    let mut session = UploadSession::new(target.clone(), call.version, metadata);
    session.declared = declared;
    state.uploads.insert(id.clone(), session);
    // Google echoes the key of the query.
    let echoed = request.query.split('&').find(|pair| pair.starts_with("key="));
    let key = echoed.map(|pair| format!("{pair}&")).unwrap_or_default();
    let path = request.path;
    let url = format!("{host}{path}?{key}upload_id={id}&upload_protocol=resumable");
    Ok(Reply::new(StatusCode::OK, "text/plain; charset=utf-8", Bytes::new())
        .header("x-goog-upload-status", "active")
        .header("x-goog-upload-url", &url)
        .header("x-goog-upload-control-url", &url)
        .header("x-goog-upload-chunk-granularity", &GRANULE.to_string())
        .header("x-guploader-uploadid", &id))
}

fn finalize(id: &str, state: &mut GeminiState) -> Result<Reply, ApiError> {
    let now = state.now();
    let session = active(state, id)?;
    let rest = std::mem::take(&mut session.pending);
    session.store(&rest);
    if let Some(declared) = session.declared.filter(|declared| *declared != session.received) {
        session.status = UploadStatus::Cancelled;
        return Err(bad(&format!(
            "The upload has {} bytes, but {declared} were announced.",
            session.received
        )));
    }
    session.status = UploadStatus::Final;
    let metadata = session.metadata.clone();
    let (target, version) = (session.target.clone(), session.version);
    let file = StoredFile {
        name: String::new(),
        display_name: metadata.display_name,
        processing: u32::from(metadata.mime_type.starts_with("video/")),
        mime_type: if metadata.mime_type.is_empty() {
            "application/octet-stream".to_owned()
        } else {
            metadata.mime_type
        },
        size: session.received,
        sha256: Some(std::mem::take(&mut session.hasher).finalize().into()),
        content: session.kept.take().map(Bytes::from),
        created: now,
        is_generated: false,
    };
    let reply = store(&target, version, metadata.name, file, state)?;
    Ok(reply.header("x-goog-upload-status", "final"))
}

/// Puts a file where its upload sends it.
fn store(
    target: &UploadTarget,
    version: &str,
    name: Option<String>,
    mut file: StoredFile,
    state: &mut GeminiState,
) -> Result<Reply, ApiError> {
    match target {
        UploadTarget::Files => {
            let number = state.files.len() + state.uploads.len();
            file.name = name.unwrap_or_else(|| format!("files/emulator{number:06}"));
            if state.file(&file.name).is_some() {
                return Err(ApiError::new(409, "Requested entity already exists"));
            }
            let described = file.described(version);
            state.files.insert(file.name.clone(), file);
            Ok(Reply::ok(&json!({"file": described})))
        }
        UploadTarget::Store(store) => {
            if !state.resources.contains_key(store) {
                return Err(ApiError::not_found());
            }
            let document = format!("{store}/documents/emulator{:06}", state.uploads.len());
            Ok(Reply::ok(&json!({
                "name": format!("{store}/upload/operations/emulator{:06}", state.uploads.len()),
                "done": true,
                "response": {
                    "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.\
                              UploadToFileSearchStoreResponse",
                    "parent": store,
                    "documentName": document,
                    "mimeType": file.mime_type,
                    "sizeBytes": file.size.to_string(),
                },
            })))
        }
    }
}

/// Metadata and bytes in one body.
fn whole(
    call: &GeminiCall,
    target: &UploadTarget,
    request: &ApiRequest<'_>,
    state: &mut GeminiState,
) -> Result<Reply, ApiError> {
    let media = text_of(request.headers, "content-type").unwrap_or_default();
    let body = MultipartBody::read(&media, request.body)?;
    let mut metadata = metadata_of(target, body.metadata)?;
    if metadata.mime_type.is_empty() {
        metadata.mime_type = body.media_type;
    }
    let id = raw_id(request.seq);
    let mut session = UploadSession::new(target.clone(), call.version, metadata);
    session.take(body.content);
    state.uploads.insert(id.clone(), session);
    finalize(&id, state)
}

/// The metadata of a file, or the configuration of a store's upload, of which nothing is used.
fn metadata_of(target: &UploadTarget, body: &[u8]) -> Result<FileMetadata, ApiError> {
    let body = Node::read(body)?;
    if *target != UploadTarget::Files {
        return Ok(FileMetadata {
            display_name: body.text("display_name").unwrap_or_default().to_owned(),
            mime_type: body.text("mime_type").unwrap_or_default().to_owned(),
            name: None,
        });
    }
    proto::check(&body, &fields::CREATE_FILE, ListRule::OneObject)?;
    let Some(file) = body.field("file") else {
        return Ok(FileMetadata::default());
    };
    let text = |name| file.text(name).unwrap_or_default().to_owned();
    Ok(FileMetadata {
        name: file.text("name").map(str::to_owned),
        display_name: text("display_name"),
        mime_type: text("mime_type"),
    })
}

fn active<'a>(state: &'a mut GeminiState, id: &str) -> Result<&'a mut UploadSession, ApiError> {
    match state.uploads.get_mut(id) {
        Some(session) if session.status == UploadStatus::Active => Ok(session),
        Some(_) => Err(bad("Upload has already been terminated.")),
        None => Err(unknown_session()),
    }
}

fn unknown_session() -> ApiError {
    ApiError::new(404, "Requested entity was not found.")
}

fn bad(message: &str) -> ApiError {
    ApiError::new(400, message)
}

fn raw_id(seq: u64) -> String {
    format!("raw-{seq}")
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Every chunk but the last is a multiple of this.
const GRANULE: usize = 262_144;
/// A file larger than this is refused.
const MOST_BYTES: u64 = 2 << 30;
/// The content of a larger file is not kept.
const CONTENT_KEPT: usize = 1 << 20;
