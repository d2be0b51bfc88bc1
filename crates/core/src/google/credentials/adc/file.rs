//! Reading a credential file by its `type` (`docs/reference/upstreams.md` 2.2).

use std::time::Duration;

use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::super::fields::{seconds, secret};
use super::super::text::{object_in, what_it_is_for_vertex};
use super::error::GoogleCredentialError;
use super::external::headers;
use super::impersonation::USUAL_LIFETIME;
use super::url::{service_url, web_url};
use super::{
    AuthorizedUser, AwsSource, ExternalAccount, ExternalUser, GoogleCredential, Impersonation,
    ServiceAccount, SubjectFormat, SubjectSource, TokenSource,
};
use crate::google::credentials::OAuthClient;
use crate::signing::RsaKey;

impl GoogleCredential {
    /// Reads a credential, which may be quoted, escaped, in base64 or in UTF-16. `universe` is the domain
    /// of Google's APIs that it has to be for.
    pub fn parse(text: &[u8], universe: &str) -> Result<Self, GoogleCredentialError> {
        let json = object_in(text)
            .ok_or_else(|| GoogleCredentialError::NotJson(what_it_is_for_vertex(text)))?;
        let object: Map<String, Value> = serde_json::from_str(&json).map_err(|error| {
            let what = if error.is_eof() { "breaks off" } else { "goes wrong" };
            let (line, column) = (error.line(), error.column());
            GoogleCredentialError::NotJson(format!(
                "its JSON {what} at line {line} column {column}; the whole content of the file is \
                 needed"
            ))
        })?;
        let file = Fields { object: &object, universe, place: "" };
        file.credential()
    }
}

/// The members of a credential file, or of the credential within it.
#[derive(Clone, Copy)]
struct Fields<'a> {
    object: &'a Map<String, Value>,
    universe: &'a str,
    /// What names of members begin with in messages.
    place: &'static str,
}

type Read<T> = Result<T, GoogleCredentialError>;

fn unusable<T>(why: impl Into<String>) -> Read<T> {
    Err(GoogleCredentialError::Unusable(why.into()))
}

impl<'a> Fields<'a> {
    fn credential(self) -> Read<GoogleCredential> {
        let Some(kind) = self.optional("type") else { return self.without_type() };
        let domain = self.optional("universe_domain").unwrap_or(self.universe);
        if domain != self.universe {
            let universe = self.universe;
            return unusable(format!("its universe_domain is another one than {universe}"));
        }
        let mut impersonations = Vec::new();
        let source = match kind {
            "authorized_user" => TokenSource::AuthorizedUser(self.authorized_user()?),
            "service_account" => TokenSource::ServiceAccount(self.service_account()?),
            "external_account" => {
                impersonations.extend(self.own_impersonation()?);
                let impersonates = !impersonations.is_empty();
                TokenSource::ExternalAccount(Box::new(self.external_account(impersonates)?))
            }
            "external_account_authorized_user" => TokenSource::ExternalUser(self.external_user()?),
            "impersonated_service_account" => return self.impersonated(),
            "gdch_service_account" => {
                return unusable(
                    "it is a gdch_service_account of Google Distributed Cloud, which has no Vertex \
                     AI at Google; use a service_account or federation",
                );
            }
            other => {
                let other: String = other.chars().filter(char::is_ascii_graphic).take(50).collect();
                return unusable(format!(
                    "its type {other} is not known; it has to be authorized_user, service_account, \
                     external_account, external_account_authorized_user or \
                     impersonated_service_account"
                ));
            }
        };
        Ok(GoogleCredential {
            source,
            impersonations,
            project_id: self.optional("project_id").map(str::to_owned),
            quota_project_id: self.optional("quota_project_id").map(str::to_owned),
        })
    }

    fn without_type(self) -> Read<GoogleCredential> {
        let has = |name: &str| self.object.contains_key(name);
        if has("installed") || has("web") {
            return unusable(
                "it is the file of an OAuth client, which is no credential; sign in with `gcloud auth \
                 application-default login`",
            );
        }
        if has("refresh_token") || has("access_token") || has("token") {
            return unusable(
                "it has no type: it looks like the Gemini CLI's oauth_creds.json, whose tokens belong \
                 to the CLI's own project; sign in with `gcloud auth application-default login`",
            );
        }
        unusable(format!("the field {}type is missing", self.place))
    }

    fn authorized_user(self) -> Read<AuthorizedUser> {
        Ok(AuthorizedUser::new(self.client()?, self.secret("refresh_token")?))
    }

    fn external_user(self) -> Read<ExternalUser> {
        let url = self.service_url("token_url")?;
        Ok(ExternalUser::new(self.client()?, self.secret("refresh_token")?, url))
    }

    fn service_account(self) -> Read<ServiceAccount> {
        let token_url = match self.optional("token_uri") {
            Some(url) => service_url("token_uri", url, self.universe)?,
            None => format!("https://oauth2.{}/token", self.universe),
        };
        Ok(ServiceAccount {
            email: self.required("client_email")?.to_owned(),
            key: rsa_key(self.secret("private_key")?.expose_secret())?,
            key_id: self.optional("private_key_id").map(str::to_owned),
            token_url,
        })
    }

    fn external_account(self, impersonates: bool) -> Read<ExternalAccount> {
        let source = self.object.get("credential_source").and_then(Value::as_object);
        let Some(source) = source else {
            return unusable(format!("the field {}credential_source is missing", self.place));
        };
        let source = Fields { object: source, place: "credential_source.", ..self };
        Ok(ExternalAccount {
            subject: source.subject()?,
            audience: self.required("audience")?.to_owned(),
            subject_token_type: self.required("subject_token_type")?.to_owned(),
            token_url: self.service_url("token_url")?,
            client: OAuthClient::of(self.object),
            workforce_project: self.optional("workforce_pool_user_project").map(str::to_owned),
            impersonates,
            source_digest: digest(&Value::Object(source.object.clone())),
        })
    }

    /// Where the subject token comes from; the object is `credential_source`.
    fn subject(self) -> Read<SubjectSource> {
        if let Some(environment) = self.optional("environment_id") {
            return self.aws(environment).map(SubjectSource::Aws);
        }
        if self.object.contains_key("executable") {
            return unusable(
                "its credential_source is an executable, and the proxy starts no programs; use file, \
                 url or AWS",
            );
        }
        if self.object.contains_key("certificate") {
            return unusable(
                "its credential_source is a certificate (X.509), which is not supported; use file, \
                 url or AWS",
            );
        }
        let format = self.format()?;
        if let Some(path) = self.optional("file") {
            return Ok(SubjectSource::File { path: path.to_owned(), format });
        }
        if let Some(url) = self.optional("url") {
            let listed = self.object.get("headers").unwrap_or(&Value::Null);
            let url = web_url("credential_source.url", url)?;
            return Ok(SubjectSource::Url { url, headers: headers(listed)?, format });
        }
        unusable("its credential_source has neither file nor url nor environment_id")
    }

    fn format(self) -> Read<SubjectFormat> {
        let format = self.object.get("format");
        let member = |name: &str| format.and_then(|it| it.get(name)).and_then(Value::as_str);
        match member("type") {
            None | Some("text") => Ok(SubjectFormat::Text),
            Some("json") => match member("subject_token_field_name") {
                Some(field) => Ok(SubjectFormat::Json(field.to_owned())),
                None => unusable(
                    "the field credential_source.format.subject_token_field_name is missing",
                ),
            },
            Some(_) => unusable("its credential_source.format.type is neither text nor json"),
        }
    }

    fn aws(self, environment: &str) -> Read<AwsSource> {
        if environment != "aws1" {
            return unusable("its credential_source.environment_id is not aws1");
        }
        let url = |name: &str| match self.optional(name) {
            Some(url) => web_url(&format!("credential_source.{name}"), url).map(Some),
            None => Ok(None),
        };
        Ok(AwsSource {
            region_url: url("region_url")?,
            keys_url: url("url")?,
            session_url: url("imdsv2_session_token_url")?,
            verification_url: self.required("regional_cred_verification_url")?.to_owned(),
        })
    }

    fn impersonated(self) -> Read<GoogleCredential> {
        let source = self.object.get("source_credentials").and_then(Value::as_object);
        let Some(source) = source else {
            return unusable(format!("the field {}source_credentials is missing", self.place));
        };
        let source = Fields { object: source, place: "source_credentials.", ..self };
        if source.optional("type") == Some("impersonated_service_account") {
            return unusable(
                "its source_credentials impersonate too; list the service accounts in between in \
                 delegates",
            );
        }
        let mut credential = source.credential()?;
        let Some(own) = self.own_impersonation()? else {
            return unusable("the field service_account_impersonation_url is missing");
        };
        if let TokenSource::ExternalAccount(account) = &mut credential.source {
            account.impersonates = true;
        }
        credential.impersonations.push(own);
        if let Some(project) = self.optional("project_id") {
            credential.project_id = Some(project.to_owned());
        }
        if let Some(project) = self.optional("quota_project_id") {
            credential.quota_project_id = Some(project.to_owned());
        }
        Ok(credential)
    }

    fn own_impersonation(self) -> Read<Option<Impersonation>> {
        let field = "service_account_impersonation_url";
        let Some(url) = self.optional(field) else { return Ok(None) };
        let url = service_url(field, url, self.universe)?;
        let delegates = self.object.get("delegates").and_then(Value::as_array);
        let delegates = delegates.into_iter().flatten();
        let delegates = delegates.filter_map(Value::as_str).map(str::to_owned).collect();
        let options = self.object.get("service_account_impersonation");
        let lifetime = options.and_then(|it| it.get("token_lifetime_seconds")).and_then(seconds);
        let lifetime =
            lifetime.filter(|it| *it >= Duration::from_secs(1)).unwrap_or(USUAL_LIFETIME);
        Ok(Some(Impersonation { url, delegates, lifetime }))
    }

    fn client(self) -> Read<OAuthClient> {
        let id = self.required("client_id")?.to_owned();
        Ok(OAuthClient { id, secret: self.secret("client_secret")? })
    }

    fn service_url(self, name: &'static str) -> Read<String> {
        service_url(name, self.required(name)?, self.universe)
    }

    fn required(self, name: &str) -> Read<&'a str> {
        match self.optional(name) {
            Some(text) => Ok(text),
            None => unusable(format!("the field {}{name} is missing", self.place)),
        }
    }

    fn secret(self, name: &str) -> Read<SecretString> {
        match secret(self.object, &[name]) {
            Some(secret) => Ok(secret),
            None => unusable(format!("the field {}{name} is missing", self.place)),
        }
    }

    fn optional(self, name: &str) -> Option<&'a str> {
        let text = self.object.get(name).and_then(Value::as_str)?.trim();
        (!text.is_empty()).then_some(text)
    }
}

fn digest(value: &Value) -> String {
    Sha256::digest(value.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key in a text in PEM. Some tools escape its line ends once too often.
fn rsa_key(pem: &str) -> Read<RsaKey> {
    let pem = pem.replace("\\n", "\n");
    if let Ok(key) = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()) {
        return Ok(RsaKey::from_pkcs8(key.secret_pkcs8_der().to_vec()));
    }
    let why = if pem.contains("BEGIN RSA PRIVATE KEY") {
        "its private_key is a key in PKCS#1 (BEGIN RSA PRIVATE KEY), and PKCS#8 is needed: convert it \
         with `openssl pkcs8 -topk8 -nocrypt`, or make a new key"
    } else if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        "its private_key is encrypted; make a new key in Google Cloud"
    } else if pem.contains("BEGIN PRIVATE KEY") {
        "its private_key is damaged: its base64 or its last line is wrong; copy the whole file"
    } else {
        "its private_key is no key in PEM (BEGIN PRIVATE KEY)"
    };
    unusable(why)
}
