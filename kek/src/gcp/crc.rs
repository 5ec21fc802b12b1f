//! CRC-32C (Castagnoli, RFC 9260 appendix B), by which Google Cloud KMS and its clients check one another's fields.

const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The checksum, as the API carries it.
pub(super) fn crc32c(bytes: &[u8]) -> i64 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let mask = 0u32.wrapping_sub(crc & 1);
            crc = (crc >> 1) ^ (POLYNOMIAL & mask);
        }
    }
    i64::from(!crc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_vectors() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b""), 0);
    }
}
