// Package discover stands in for the search of cluster members at clouds, which one server in memory does not do, so that
// the clouds' SDKs are not built.
package discover

import (
	"errors"
	"log"
)

// Provider is a place to search.
type Provider interface{}

// Providers has none.
var Providers = map[string]Provider{}

// Option changes nothing.
type Option func(*Discover) error

// Discover finds nothing.
type Discover struct{}

// New gives one.
func New(...Option) (*Discover, error) { return &Discover{}, nil }

// WithProviders takes none.
func WithProviders(map[string]Provider) Option { return nil }

// Addrs says that it is not here.
func (*Discover) Addrs(string, *log.Logger) ([]string, error) {
	return nil, errors.New("the search for members is not built in")
}
