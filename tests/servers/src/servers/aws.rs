//! Servers that speak as AWS does: moto (IAM, encryption contexts) and LocalStack (states of keys, errors).

use crate::process::Process;
use crate::{ports, python};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Version of moto.
pub const MOTO: &str = "moto[server]==5.2.5";
/// Versions of LocalStack and of what it needs.
pub const LOCALSTACK: [&str; 8] = [
    "localstack-core[runtime]==4.14.0",
    "localstack==4.14.0",
    "boto3",
    "cbor2<5.9",
    "pyopenssl==25.1.0",
    "cryptography<46",
    "service_identity<25",
    "twisted<26",
];

/// Calls that moto answers without looking at who asks: those that make the administrator.
const FREE_CALLS: &str = "3";
const START: Duration = Duration::from_secs(180);

/// A pair of static keys.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
}

impl Keys {
    fn new(id: &str, secret: &str) -> Self {
        Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
        }
    }
}

/// A running stand-in for AWS, with what its administrator may do.
#[derive(Debug)]
pub struct Cloud {
    _process: Process,
    directory: tempfile::TempDir,
    python: PathBuf,
    /// Loopback port.
    pub port: u16,
    /// Who may do everything.
    pub administrator: Keys,
}

/// Starts moto with IAM.
#[must_use]
pub fn moto() -> Cloud {
    let bin = python::environment("moto", &[MOTO]);
    let port = ports::free();
    let mut command = Command::new(bin.join("moto_server"));
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    command.env("INITIAL_NO_AUTH_ACTION_COUNT", FREE_CALLS);
    let mut cloud = Cloud::start(command, &bin, port);
    cloud.administrator = cloud.user("administrator", "*");
    cloud
}

/// Starts LocalStack; it looks at no credentials. What it depends on needs CPython 3.13.
#[must_use]
pub fn localstack(interpreter: &str) -> Cloud {
    let bin = python::environment_of(interpreter, "localstack", &LOCALSTACK);
    let port = ports::free();
    let mut command = Command::new(bin.join("python"));
    command.args(["-m", "localstack.runtime.main"]);
    command.envs([
        ("GATEWAY_SERVER", "hypercorn"),
        ("GATEWAY_LISTEN", &format!("127.0.0.1:{port}")),
        ("SKIP_SSL_CERT_DOWNLOAD", "1"),
        ("SERVICES", "kms,sts,iam"),
        ("DISABLE_EVENTS", "1"),
        ("EAGER_SERVICE_LOADING", "0"),
    ]);
    Cloud::start(command, &bin, port)
}

impl Cloud {
    fn start(mut command: Command, bin: &Path, port: u16) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the server");
        command.current_dir(directory.path());
        command.env("HOME", directory.path());
        command.env("FILESYSTEM_ROOT", directory.path().join("root"));
        let mut process = Process::start(&mut command, &directory.path().join("log"));
        process.wait_port(port, START);
        Self {
            _process: process,
            directory,
            python: bin.join("python"),
            port,
            administrator: Keys::new("test", "test"),
        }
    }

    /// Calls an API as the administrator.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn call(&self, service: &str, method: &str, arguments: &Value) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/aws_admin.py");
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let mut child = Command::new(&self.python)
            .arg(script)
            .args([&endpoint, service, method, &arguments.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run the administrator's script");
        let keys = format!("{}\n{}\n", self.administrator.id, self.administrator.secret);
        let mut input = child.stdin.take().expect("standard input");
        input.write_all(keys.as_bytes()).expect("write the keys");
        drop(input);
        let output = child.wait_with_output().expect("the script ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{service} {method}: {errors}");
        serde_json::from_slice(&output.stdout).expect("the script prints JSON")
    }

    /// Makes a symmetric key. Returns its ARN.
    #[must_use]
    pub fn key(&self) -> String {
        let made = self.call("kms", "create_key", &json!({}));
        text(&made, "/KeyMetadata/Arn")
    }

    /// Makes a user that may do `action` (`*`, `kms:DescribeKey`), and keys of it.
    #[must_use]
    pub fn user(&self, name: &str, action: &str) -> Keys {
        self.call("iam", "create_user", &json!({ "UserName": name }));
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Action": action, "Resource": "*" }],
        });
        let policy =
            json!({ "UserName": name, "PolicyName": "it", "PolicyDocument": policy.to_string() });
        self.call("iam", "put_user_policy", &policy);
        let made = self.call("iam", "create_access_key", &json!({ "UserName": name }));
        Keys::new(
            &text(&made, "/AccessKey/AccessKeyId"),
            &text(&made, "/AccessKey/SecretAccessKey"),
        )
    }

    /// Writes a credential file as a provider reads it. Returns how a configuration names it.
    #[must_use]
    pub fn credential(&self, keys: &Keys) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.directory.path().join(&keys.id);
        let lines = format!(
            "access_key_id = '{}'\nsecret_access_key = '{}'\n",
            keys.id, keys.secret
        );
        std::fs::write(&path, lines).expect("write the credential file");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("make it private");
        format!("file:{}", path.display())
    }
}

fn text(answer: &Value, pointer: &str) -> String {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    found.expect("a text in the answer").to_owned()
}
