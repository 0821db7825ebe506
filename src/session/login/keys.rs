//! Certificate and RSA key that clients meet: configured, or made once and kept in the store folder.
//!
//! A self-made pair is kept so that a client that trusts it still does after a restart.
//!
//! Never here: overwriting a file that exists, a key that others could read.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::aws_lc_rs::digest::{SHA256, digest};
use sluice_protocol::auth::KeyPair;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::config::{ClientTls, ClientTlsMode};

/// Folder in the store.
const FOLDER: &str = "tls";
const CERTIFICATE: &str = "server-cert.pem";
const PRIVATE_KEY: &str = "server-key.pem";
const RSA_KEY: &str = "rsa-key.der";
/// What a self-made certificate names; clients that verify names need a configured one.
const NAMES: [&str; 2] = ["sluice", "localhost"];

/// Bytes of a certificate's digest that tell it apart for people.
const NAME_BYTES: usize = 6;

/// A certificate or key is not usable.
#[derive(Debug, Error)]
#[error("{}: {why}", path.display())]
pub struct KeyError {
    path: PathBuf,
    why: String,
}

impl KeyError {
    fn new(path: &Path, why: impl Into<Box<dyn std::error::Error>>) -> Self {
        Self { path: path.to_owned(), why: why.into().to_string() }
    }
}

/// What clients meet.
pub(super) struct Keys {
    /// `None`: TLS is not offered.
    pub(super) acceptor: Option<TlsAcceptor>,
    /// The beginning of the certificate's SHA-256 digest, as tools show it; "none" without TLS.
    pub(super) certificate: String,
    /// For passwords on connections without TLS.
    pub(super) rsa: KeyPair,
}

impl Keys {
    /// Loads or makes them. `store` is the store folder.
    pub(super) fn load(tls: &ClientTls, store: &Path) -> Result<Self, KeyError> {
        let folder = store.join(FOLDER);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| KeyError::new(&folder, error))?;
        let acceptor = match (tls.mode, &tls.files) {
            (ClientTlsMode::Disabled, _) => None,
            (
                ClientTlsMode::Preferred | ClientTlsMode::Required | ClientTlsMode::VerifyCa,
                Some((certificate, key)),
            ) => Some(acceptor(certificate, key, tls.ca.as_deref())?),
            (ClientTlsMode::Preferred | ClientTlsMode::Required | ClientTlsMode::VerifyCa, None) => {
                let (certificate, key) = self_made(&folder)?;
                Some(acceptor(&certificate, &key, tls.ca.as_deref())?)
            }
        };
        let (acceptor, certificate) = acceptor.unzip();
        let certificate = certificate.unwrap_or_else(|| "none".to_owned());
        Ok(Self { acceptor, certificate, rsa: rsa(&folder)? })
    }
}

fn acceptor(certificate: &Path, key: &Path, ca: Option<&Path>) -> Result<(TlsAcceptor, String), KeyError> {
    let chain = certificates(certificate)?;
    let name = name_of(&chain);
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| KeyError::new(key, error))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| KeyError::new(certificate, error))?;
    let config = match ca {
        Some(ca) => config.with_client_cert_verifier(verifier(ca, provider)?),
        None => config.with_no_client_auth(),
    };
    let config =
        config.with_single_cert(chain, private).map_err(|error| KeyError::new(certificate, error))?;
    Ok((TlsAcceptor::from(Arc::new(config)), name))
}

fn name_of(chain: &[CertificateDer<'_>]) -> String {
    let whole = digest(&SHA256, chain.first().map_or(&[][..], |certificate| certificate.as_ref()));
    let bytes: Vec<String> =
        whole.as_ref().iter().take(NAME_BYTES).map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// Takes only clients with a certificate of this CA.
fn verifier(ca: &Path, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, KeyError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| KeyError::new(ca, error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|error| KeyError::new(ca, error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| KeyError::new(path, error))?;
    if chain.is_empty() { Err(KeyError::new(path, "holds no certificate")) } else { Ok(chain) }
}

/// The paths of the self-made pair, made if it is not there. The certificate is written last: with it the
/// pair is complete.
fn self_made(folder: &Path) -> Result<(PathBuf, PathBuf), KeyError> {
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(PRIVATE_KEY));
    if !certificate.exists() {
        let made = rcgen::generate_simple_self_signed(NAMES.map(str::to_owned))
            .map_err(|error| KeyError::new(&certificate, error))?;
        write_private(&key, made.signing_key.serialize_pem().as_bytes())?;
        write_private(&certificate, made.cert.pem().as_bytes())?;
    }
    Ok((certificate, key))
}

fn rsa(folder: &Path) -> Result<KeyPair, KeyError> {
    let path = folder.join(RSA_KEY);
    match fs::read(&path).map(zeroize::Zeroizing::new) {
        Ok(der) => KeyPair::from_pkcs8(&der).map_err(|error| KeyError::new(&path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = KeyPair::generate().map_err(|error| KeyError::new(&path, error))?;
            write_private(&path, made.to_pkcs8())?;
            Ok(made)
        }
        Err(error) => Err(KeyError::new(&path, error)),
    }
}

/// Writes a file that only we can read, whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    write().map_err(|error| KeyError::new(path, error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PREFERRED: ClientTls = ClientTls { mode: ClientTlsMode::Preferred, files: None, ca: None };

    #[test]
    fn a_self_made_pair_is_private_and_survives_a_restart() {
        let store = tempfile::tempdir().unwrap();
        let first = Keys::load(&PREFERRED, store.path()).unwrap();
        let folder = store.path().join(FOLDER);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        let before: Vec<_> = [CERTIFICATE, PRIVATE_KEY, RSA_KEY]
            .iter()
            .map(|name| {
                let path = folder.join(name);
                assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
                fs::read(path).unwrap()
            })
            .collect();
        let second = Keys::load(&PREFERRED, store.path()).unwrap();
        assert_eq!(first.rsa.public_pem(), second.rsa.public_pem());
        assert!(second.acceptor.is_some());
        let after: Vec<_> =
            [CERTIFICATE, PRIVATE_KEY, RSA_KEY].iter().map(|n| fs::read(folder.join(n)).unwrap()).collect();
        assert!(before == after);
    }

    #[test]
    fn a_broken_key_is_named_and_not_replaced() {
        let store = tempfile::tempdir().unwrap();
        let path = store.path().join(FOLDER).join(RSA_KEY);
        fs::create_dir(store.path().join(FOLDER)).unwrap();
        fs::write(&path, b"not a key").unwrap();
        let error = Keys::load(&PREFERRED, store.path()).err().unwrap().to_string();
        assert!(error.contains(RSA_KEY), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"not a key");
    }

    #[test]
    fn disabled_means_no_tls() {
        let store = tempfile::tempdir().unwrap();
        let disabled = ClientTls { mode: ClientTlsMode::Disabled, files: None, ca: None };
        assert!(Keys::load(&disabled, store.path()).unwrap().acceptor.is_none());
    }
}
