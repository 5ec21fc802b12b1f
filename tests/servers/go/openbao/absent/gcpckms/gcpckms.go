// Package gcpckms stands in for a seal that the tests have no use for, so that its cloud's SDK is not built.
package gcpckms

import (
	"context"
	"errors"

	wrapping "github.com/openbao/go-kms-wrapping/v2"
)

// Wrapper cannot be configured.
type Wrapper struct{ wrapping.Wrapper }

// NewWrapper gives one.
func NewWrapper() *Wrapper { return &Wrapper{} }

// SetConfig says that it is not here.
func (*Wrapper) SetConfig(context.Context, ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	return nil, errors.New("this seal is not built in")
}
