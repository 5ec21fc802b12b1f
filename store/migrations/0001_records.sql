-- Records of the key service: bytes with a version. A removed record keeps its row without a value, so that its
-- version goes on and a late writer finds another one than it had read.
CREATE TABLE dawnkey_records (
    kind    text   NOT NULL,
    key     bytea  NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    value   bytea,
    PRIMARY KEY (kind, key)
);
