//! The part of Azure's instance metadata service that hands out the VCEK and its chain.
//!
//! `GET /metadata/THIM/amd/certification` with the header `Metadata: true`, answered with JSON: `vcekCert` and
//! `certificateChain` in PEM, `tcbm` the reported TCB as a hexadecimal number.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use dawnkey_attest::snp::auxblob::CertificateTable;

use crate::error::{DeviceError, IoContext as _};
use crate::material::{Material, pem};

/// Where Azure serves it; the guest's loopback interface gets this address.
pub const ADDRESS: &str = "169.254.169.254:80";
const PATH: &str = "/metadata/THIM/amd/certification";
/// Longest request head read.
const HEAD: u64 = 8 << 10;
/// Reported TCB in a report.
const TCB: std::ops::Range<usize> = 0x180..0x188;

/// Answers until the process ends. `ready` is called when the address is bound.
///
/// # Errors
/// [`DeviceError::Io`] when the address cannot be bound.
pub fn serve(
    material: &Path,
    ready: impl FnOnce() -> Result<(), DeviceError>,
) -> Result<(), DeviceError> {
    let listener = TcpListener::bind(ADDRESS).doing(|| format!("listen at {ADDRESS}"))?;
    ready()?;
    for stream in listener.incoming() {
        // A caller who hangs up is the caller's matter.
        let _ = stream.map(|stream| answer(stream, material));
    }
    Ok(())
}

fn answer(mut stream: TcpStream, material: &Path) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let head: Vec<String> = BufReader::new(stream.try_clone()?)
        .take(HEAD)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let (status, body) = respond(&head, material);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn respond(head: &[String], material: &Path) -> (&'static str, String) {
    let mut words = head
        .first()
        .map(String::as_str)
        .unwrap_or_default()
        .split(' ');
    let (method, path) = (words.next(), words.next().unwrap_or_default());
    let asked = head.iter().skip(1).any(|line| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("metadata") && value.trim().eq_ignore_ascii_case("true")
        })
    });
    if method != Some("GET") || path.split('?').next() != Some(PATH) {
        return ("404 Not Found", r#"{"error":"not found"}"#.to_owned());
    }
    if !asked {
        let error = r#"{"error":"bad request, the header Metadata: true is missing"}"#;
        return ("400 Bad Request", error.to_owned());
    }
    match certification(material) {
        Some(body) => ("200 OK", body),
        None => (
            "503 Service Unavailable",
            r#"{"error":"no certificates"}"#.to_owned(),
        ),
    }
}

fn certification(material: &Path) -> Option<String> {
    let Material::Snp {
        report,
        certificates,
        ..
    } = Material::read(material).ok()?
    else {
        return None;
    };
    let table = CertificateTable::parse(&certificates).ok()?;
    let tcb = u64::from_le_bytes(report.get(TCB)?.try_into().ok()?);
    let chain: String = table
        .intermediates
        .iter()
        .chain(&table.ark)
        .map(|der| pem(der))
        .collect();
    let body = serde_json::json!({
        "vcekCert": pem(&table.vcek?),
        "tcbm": format!("{tcb:016X}"),
        "certificateChain": chain,
        "cacheControl": "86400",
    });
    Some(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_paths_and_callers_without_the_header_get_nothing() {
        let ask = |lines: &[&str]| {
            let head: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            respond(&head, Path::new("/nonexistent")).0
        };
        assert_eq!(ask(&["GET / HTTP/1.1", "Metadata: true"]), "404 Not Found");
        let line = format!("GET {PATH} HTTP/1.1");
        assert_eq!(ask(&[&line]), "400 Bad Request");
        assert_eq!(ask(&[&line, "metadata: True"]), "503 Service Unavailable");
    }
}
