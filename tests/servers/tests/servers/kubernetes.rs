//! The Kubernetes KMS plugin, asked by the API server's own client code (`k8s.io/apiserver`, encryptionconfig).
#![allow(clippy::indexing_slicing)]

mod service;

use dawnkey_server_tests::go;
use dawnkey_server_tests::toolchain::{Tool, have};
use serde_json::{Value, json};
use service::Site;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Where the object is in etcd: part of what its ciphertext is bound to.
const HERE: &str = "/registry/secrets/default/a";
const ELSEWHERE: &str = "/registry/secrets/default/b";

/// The API server's part, one request per line.
struct ApiServer {
    child: Child,
    into: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl ApiServer {
    fn start(scratch: &Path, socket: &Path) -> Self {
        let file = scratch.join("encryption.yaml");
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - kms:
          apiVersion: v2
          name: dawnkey
          endpoint: unix://{}
          timeout: 5s
      - identity: {{}}
",
            socket.display()
        );
        std::fs::write(&file, text).unwrap();
        let mut child = Command::new(go::program("kms-client"))
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            into: child.stdin.take().unwrap(),
            from: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.into, "{request}").unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// The error's text, empty when there is none.
    fn does(&mut self, op: &str) -> String {
        let answer = self.ask(&json!({"op": op}));
        answer["error"].as_str().unwrap().to_owned()
    }

    fn good(&mut self, op: &str, path: &str, data: &Value) -> Value {
        let answer = self.ask(&json!({"op": op, "path": path, "data": data}));
        assert_eq!(answer["error"], "", "{op}");
        answer
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_encrypts_decrypts_and_sees_rotation_and_failure() {
    if !have("kubernetes", &[Tool::Go]) {
        return;
    }
    let site = Site::new();
    let running = site.start().await;
    let mut api = ApiServer::start(site.path(), &site.socket());
    // No key was made yet: the plugin says so, and the API server is not healthy.
    let problem = api.does("load");
    let problem = format!("{problem}{}", api.does("health"));
    assert!(problem.contains("kubernetes-kms create"), "{problem}");
    site.create_key(&running).await;
    assert_eq!(api.does("load"), "");
    assert_eq!(api.does("health"), "");
    let secret = json!("c2VjcmV0");
    let old = api.good("encrypt", HERE, &secret);
    let back = api.good("decrypt", HERE, &old["data"]);
    assert_eq!((&back["data"], &back["stale"]), (&secret, &json!(false)));
    let moved = api.ask(&json!({"op": "decrypt", "path": ELSEWHERE, "data": old["data"]}));
    assert_ne!(moved["error"], "", "an object of another path");
    // After a rotation the API server encrypts anew, and knows what is to be written again.
    site.rotate_key(&running).await;
    assert_eq!(api.does("load"), "");
    let read = api.good("decrypt", HERE, &old["data"]);
    assert_eq!((&read["data"], &read["stale"]), (&secret, &json!(true)));
    let new = api.good("encrypt", HERE, &secret);
    let read = api.good("decrypt", HERE, &new["data"]);
    assert_eq!((&read["data"], &read["stale"]), (&secret, &json!(false)));
    // The plugin is down: what the API server holds in memory goes on, a restarted one knows nothing.
    assert!(running.shutdown().await);
    let held = api.good("decrypt", HERE, &new["data"]);
    assert_eq!(held["data"], secret);
    let problem = api.does("load");
    let problem = format!("{problem}{}", api.does("health"));
    assert_ne!(problem, "");
    let lost = api.ask(&json!({"op": "decrypt", "path": HERE, "data": new["data"]}));
    assert_ne!(lost["error"], "");
    // And up again, over the same store.
    let running = site.start().await;
    assert_eq!(api.does("load"), "");
    for made in [&old, &new] {
        let read = api.good("decrypt", HERE, &made["data"]);
        assert_eq!(read["data"], secret);
    }
    drop(api);
    assert!(running.shutdown().await);
}
