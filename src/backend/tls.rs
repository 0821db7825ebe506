//! TLS towards instances, with the modes a MySQL administrator knows.
//!
//! The certificates that servers make for themselves name no host, so `verify-ca` checks the chain and not
//! the name, and the modes without verification accept any certificate; even there the server has to prove
//! that it holds the certificate's key.
//!
//! Never here: a fallback from a failed handshake to plain text.

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{WantsClientCert, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error as RustlsError,
    RootCertStore, SignatureScheme,
};

use super::socket::Socket;
use super::stream::Stream;
use crate::config::{InstanceTls, InstanceTlsMode};

/// `[tls.instance] ca`, `cert` or `key` is not usable.
#[derive(Debug, Error)]
#[error("[tls.instance] {0}")]
pub struct CaError(String);

/// What to do about TLS when an instance has greeted.
#[derive(Clone)]
pub(super) struct Tls {
    mode: InstanceTlsMode,
    connector: Option<TlsConnector>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn new(settings: &InstanceTls) -> Result<Self, CaError> {
        let mode = settings.mode;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match mode {
            InstanceTlsMode::Disabled => return Ok(Self { mode, connector: None }),
            InstanceTlsMode::Preferred | InstanceTlsMode::Required => {
                Arc::new(AnyCertificate(provider.clone()))
            }
            InstanceTlsMode::VerifyCa | InstanceTlsMode::VerifyIdentity => {
                chain_verifier(mode, settings.ca.as_deref(), provider.clone())?
            }
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| CaError(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &settings.files {
            Some((certificate, key)) => own_certificate(config, certificate, key)?,
            None => config.with_no_client_auth(),
        };
        Ok(Self { mode, connector: Some(TlsConnector::from(Arc::new(config))) })
    }

    /// Whether to ask for TLS. `Err` says why the connection must not be used.
    pub(super) fn wanted(&self, offered: bool) -> Result<bool, String> {
        match self.mode {
            InstanceTlsMode::Disabled => Ok(false),
            InstanceTlsMode::Preferred => Ok(offered),
            InstanceTlsMode::Required | InstanceTlsMode::VerifyCa | InstanceTlsMode::VerifyIdentity
                if offered =>
            {
                Ok(true)
            }
            InstanceTlsMode::Required | InstanceTlsMode::VerifyCa | InstanceTlsMode::VerifyIdentity => {
                Err("the server offers no TLS; give it a certificate, or set [tls.instance] mode = \
                     \"preferred\""
                    .to_owned())
            }
        }
    }

    /// Does the handshake. The caller has the deadline.
    pub(super) async fn connect(&self, tcp: Socket, host: &str) -> Result<Stream, String> {
        let connector = self.connector.as_ref().ok_or("TLS is disabled")?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is no name that a certificate could have"))?;
        let tls = connector.connect(name, tcp).await.map_err(|error| explain(&error))?;
        Ok(Stream::Tls(Box::new(tls.into())))
    }
}

/// Shows servers that ask for one a certificate of ours (`REQUIRE X509` and the like).
fn own_certificate(
    config: ConfigBuilder<ClientConfig, WantsClientCert>,
    certificate: &Path,
    key: &Path,
) -> Result<ClientConfig, CaError> {
    let (cert_name, key_name) = (certificate.display(), key.display());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| CaError(format!("cert: {cert_name}: {error}")))?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| CaError(format!("key: {key_name}: {error}")))?;
    config
        .with_client_auth_cert(chain, private)
        .map_err(|error| CaError(format!("cert and key: {cert_name}, {key_name}: {error}")))
}

fn chain_verifier(
    mode: InstanceTlsMode,
    ca: Option<&Path>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, CaError> {
    let path = ca.ok_or_else(|| CaError("ca: needed by this mode".to_owned()))?;
    let name = path.display();
    let mut roots = RootCertStore::empty();
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| CaError(format!("ca: {name}: {error}")))?;
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| CaError(format!("ca: {name}: {error}")))?;
    }
    if roots.is_empty() {
        return Err(CaError(format!("ca: {name} holds no certificate")));
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| CaError(format!("ca: {name}: {error}")))?;
    Ok(match mode {
        InstanceTlsMode::VerifyIdentity => inner,
        InstanceTlsMode::VerifyCa
        | InstanceTlsMode::Disabled
        | InstanceTlsMode::Preferred
        | InstanceTlsMode::Required => Arc::new(AnyName { inner, trusted: certificates }),
    })
}

/// A failed handshake in words that say what to do.
fn explain(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>());
    let hint = match inner {
        Some(RustlsError::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "the server's certificate is not signed by [tls.instance] ca"
        }
        Some(RustlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => {
            "the server's certificate does not name its address (those MySQL makes for itself never do): \
             use mode = \"verify-ca\""
        }
        Some(RustlsError::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "the server's certificate has expired",
        Some(RustlsError::InvalidCertificate(CertificateError::BadEncoding | CertificateError::Other(_))) => {
            "the server's certificate is not understood; only X.509 version 3 is, make it a new one"
        }
        _ => "only TLS 1.2 and 1.3 are spoken",
    };
    format!("{error} ({hint})")
}

/// Accepts every certificate whose key the server holds.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks the chain and not the name.
#[derive(Debug)]
struct AnyName {
    inner: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        // A server's self-signed certificate may itself be the trusted one; webpki refuses a CA as a leaf.
        if self.trusted.iter().any(|trusted| trusted.as_ref() == end_entity.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        // The name is checked after the chain, so this error means that the chain is right.
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(RustlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
