//! An upstream over TLS.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::upstream::ScriptedUpstream;

/// The upstream's end of a connection.
pub type TlsStream = rustls::StreamOwned<rustls::ServerConnection, TcpStream>;

/// Calls `serve` with every connection, of which nothing has been read. The upstream offers these
/// protocols (ALPN), and its certificate is of [`authority`].
pub fn tls_upstream(
    protocols: &[&str],
    serve: impl Fn(TlsStream) + Send + Sync + 'static,
) -> ScriptedUpstream {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_file_iter(file("server.pem")).expect("a file of the tests");
    let chain = chain.map(|certificate| certificate.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a file of the tests");
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the defaults")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a key that fits");
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let config = Arc::new(config);
    ScriptedUpstream::raw(move |stream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("a config");
        serve(rustls::StreamOwned::new(connection, stream));
    })
}

/// The file with the authority's certificate, for `SSL_CERT_FILE`.
pub fn authority() -> String {
    file("authority.pem").to_string_lossy().into_owned()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tls").join(name)
}
