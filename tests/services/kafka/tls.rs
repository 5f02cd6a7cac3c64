//! The protected listeners of the broker: an authority of its own, a certificate for 127.0.0.1, and one user.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::harness::outcome;
use crate::services::free_port;

/// The user whom the broker knows, by PLAIN and by SCRAM.
pub(crate) const USER: &str = "reader";
/// The user's password, which must be nowhere.
pub(crate) const PASSWORD: &str = "pw-that-nobody-may-see";

/// Files and ports of the protected listeners.
#[derive(Debug)]
pub(crate) struct Tls {
    folder: PathBuf,
    ssl: u16,
    sasl_ssl: u16,
}

impl Tls {
    /// Makes the certificates.
    pub(super) fn create(folder: &Path) -> Result<Tls> {
        let tls = Tls { folder: folder.to_owned(), ssl: free_port()?, sasl_ssl: free_port()? };
        tls.authority("ca", "an authority of the tests")?;
        tls.authority("other-ca", "an authority that signed nothing")?;
        fs::write(tls.path("names"), "subjectAltName=IP:127.0.0.1")?;
        tls.openssl("req -newkey rsa:2048 -nodes -keyout broker.key -out broker.csr -subj /CN=broker")?;
        tls.openssl(
            "x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out broker.pem",
        )?;
        let store = [fs::read_to_string(tls.path("broker.key"))?, fs::read_to_string(tls.path("broker.pem"))?].concat();
        fs::write(tls.path("keystore.pem"), store)?;
        Ok(tls)
    }

    fn authority(&self, name: &str, subject: &str) -> Result<()> {
        fs::write(
            self.path("authority"),
            format!(
                "[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN={subject}\n[v3]\nbasicConstraints=critical,CA:TRUE\n"
            ),
        )?;
        self.openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 30 -config authority -extensions v3"
        ))
    }

    fn openssl(&self, words: &str) -> Result<()> {
        let made = outcome(Command::new("openssl").args(words.split(' ')).current_dir(&self.folder))?;
        ensure!(made.code == 0, "openssl {words}: {made:?}");
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The listeners, as the broker's property names them.
    pub(super) fn listeners(&self) -> String {
        format!("SSL://127.0.0.1:{},SASL_SSL://127.0.0.1:{}", self.ssl, self.sasl_ssl)
    }

    /// What else the broker must be told.
    pub(super) fn properties(&self) -> String {
        let plain = "org.apache.kafka.common.security.plain.PlainLoginModule";
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule";
        format!(
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL\n\
             ssl.keystore.type=PEM\n\
             ssl.keystore.location={}\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n\
             listener.name.sasl_ssl.plain.sasl.jaas.config={plain} required user_{USER}=\"{PASSWORD}\";\n\
             listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={scram} required;\n",
            self.path("keystore.pem").display()
        )
    }

    /// What the broker's folder is formatted with besides.
    pub(super) fn format_words() -> [String; 2] {
        ["--add-scram".to_owned(), format!("SCRAM-SHA-256=[name={USER},password={PASSWORD}]")]
    }
}

#[cfg(feature = "kafka-tls")]
impl Tls {
    /// Where clients with TLS find the broker.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ssl)
    }

    /// Where clients with TLS and a password find it.
    pub(crate) fn sasl_address(&self) -> String {
        format!("127.0.0.1:{}", self.sasl_ssl)
    }

    /// The certificate of the authority that signed the broker's.
    pub(crate) fn authority_file(&self) -> String {
        self.path("ca.pem").display().to_string()
    }

    /// The certificate of one that did not.
    pub(crate) fn other_authority_file(&self) -> String {
        self.path("other-ca.pem").display().to_string()
    }
}
