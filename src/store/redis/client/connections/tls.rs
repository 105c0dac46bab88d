//! The certificates for TLS: those that this node trusts, and the node's own certificate.

use redis::{Client, ClientTlsConfig, ConnectionInfo, TlsCertificates};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use zeroize::Zeroizing;

use crate::{error::ConfigError, store::redis::client::connections::target::invalid_url};

const CLIENT: &str = "client_certificate";
const ROOTS: &str = "root_certificates";

/// The certificates of the application, as PEM texts. Without them, the node trusts the system's
/// authorities, and presents no certificate.
#[derive(Default)]
pub(crate) struct Certificates {
    pub(crate) client: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    pub(crate) roots: Option<Vec<u8>>,
}

impl Certificates {
    /// Returns the name of a setting that the application has set; `None` if it set none.
    pub(crate) fn setting(&self) -> Option<&'static str> {
        match self {
            Self { client: Some(_), .. } => Some(CLIENT),
            Self { roots: Some(_), .. } => Some(ROOTS),
            _ => None,
        }
    }

    /// Adds these certificates to connection settings. The address must use TLS.
    ///
    /// # Errors
    ///
    /// A certificate or the key cannot be used.
    pub(crate) fn apply(&self, info: ConnectionInfo) -> Result<ConnectionInfo, ConfigError> {
        if self.setting().is_none() {
            return Ok(info);
        }
        self.check()?;
        let client = self.client.as_ref();
        let certificates = TlsCertificates {
            client_tls: client.map(|(certificates, key)| ClientTlsConfig {
                client_cert: certificates.clone(),
                client_key: key.to_vec(),
            }),
            root_cert: self.roots.clone(),
        };
        // redis converts certificates to connection settings only inside a `Client`.
        let client = Client::build_with_tls(info, certificates).map_err(|_| invalid_url())?;
        Ok(client.get_connection_info().clone())
    }

    /// Checks the certificates and the key. redis would accept a text without any certificate.
    fn check(&self) -> Result<(), ConfigError> {
        if let Some(roots) = &self.roots {
            let mut store = RootCertStore::empty();
            for root in certificates(ROOTS, roots)? {
                store.add(root).map_err(|error| {
                    let remedy = "give the certificates of certificate authorities";
                    ConfigError::new(ROOTS, "has a certificate that cannot be trusted", remedy).with_source(error)
                })?;
            }
        }
        let Some((chain, key)) = &self.client else { return Ok(()) };
        let chain = certificates(CLIENT, chain)?;
        // The error omits the message of the parser, because that message might describe the key.
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            ConfigError::new(CLIENT, "has a key that cannot be read", "give one private key in PEM, without a password")
        })?;
        let Some(provider) = CryptoProvider::get_default() else { return Ok(()) };
        CertifiedKey::from_der(chain, key, provider).map(drop).map_err(|error| {
            let remedy = "put the client's own certificate first, and give the key of that certificate";
            ConfigError::new(CLIENT, "has a key that does not fit the certificate", remedy).with_source(error)
        })
    }
}

/// Reads the certificates in a PEM text. Returns an error if there is none.
fn certificates(setting: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| {
        ConfigError::new(setting, "contains no readable certificate", "give certificates in PEM (BEGIN CERTIFICATE)")
    })
}
