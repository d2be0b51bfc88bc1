//! Reading the credentials from the setting or file that holds them.

use sha2::{Digest, Sha256};

use super::place::Missing;
use super::source::Credential;
use super::{Credentials, TokenOutcome};
use crate::error::{CredentialKind, Error};
use crate::platform::{CredentialFile, Platform};
use crate::sync::lock;

impl Credentials {
    /// Returns the credential in use, and reads it first if necessary.
    pub(super) async fn credential<P: Platform>(
        &self,
        platform: &P,
    ) -> Result<Credential, TokenOutcome> {
        self.read_file(platform).await;
        if let Some(credential) = lock(&self.source).credential() {
            return Ok(credential);
        }
        let login =
            self.place.without_file(platform, &self.settings).await.map_err(
                |missing| match missing {
                    Missing::ForNow(error) => TokenOutcome::Failed(error),
                    Missing::UntilChanged(Error::CredentialsMissing { why, .. })
                        if self.settings.no_upstream_configured
                            && self.account.own_login.is_none() =>
                    {
                        let kind = CredentialKind::Unset;
                        TokenOutcome::Rejected(Error::CredentialsMissing { why, kind })
                    }
                    Missing::UntilChanged(error) => TokenOutcome::Rejected(error),
                },
            )?;
        let rotated = self.stored_rotation(platform, &login.fingerprint()).await;
        let mut source = lock(&self.source);
        if source.login.is_none() {
            source.adopt(login, rotated);
        }
        source.credential().ok_or(TokenOutcome::Stale)
    }

    /// Reads the credential file if it is the source and has changed.
    pub(super) async fn read_file<P: Platform>(&self, platform: &P) {
        let Some(path) = self.place.file(&self.settings) else { return };
        let seen = lock(&self.source).stamp;
        let CredentialFile::Read { stamp, content } = platform.credential_file(&path, seen).await
        else {
            return;
        };
        // The stamp of a half-written file is not kept, so that the file is read again next time.
        let Ok(login) = self.place.parse(platform, &content) else { return };
        let content = Sha256::digest(&content).into();
        let rotated = self.stored_rotation(platform, &login.fingerprint()).await;

        // Locked until the end, so that no request sees the new account with the old one's token or
        // project.
        let mut source = lock(&self.source);
        if source.stamp != seen {
            // Another task has read the file at the same time.
            return;
        }
        source.stamp = Some(stamp);
        let in_trouble = self.tokens.with(|tokens| tokens.trouble().is_some());
        let (mut other_account, mut newer) = (false, false);
        if source.content != Some(content) {
            let known = source.login.is_some();
            other_account = known && source.version.fingerprint != login.fingerprint();
            newer = known && login.token().is_some_and(|token| source.is_new(&token));
            source.content = Some(content);
            source.adopt(login, rotated);
        }
        if other_account {
            tracing::info!("the credential file now holds another login");
            self.tokens.with(|tokens| tokens.clear());
            self.account.clear();
        } else if in_trouble || newer {
            let (clock, now) = (platform.wall_clock(), platform.now());
            self.tokens.with(|tokens| tokens.retry_now(clock, now));
            self.account.retry_now();
        }
    }
}
