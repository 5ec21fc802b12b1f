module github.com/openbao/go-kms-wrapping/wrappers/awskms/v2

go 1.24.6

require github.com/openbao/go-kms-wrapping/v2 v2.5.0
