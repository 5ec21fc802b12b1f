// openbao is the server of OpenBao (packages vault and http) with the transit engine, the logins that provider transit
// uses, and storage in memory. It starts sealed and without keys, as a new server does; the caller initialises it over
// its API. Arguments: loopback port, certificate, key.
package main

import (
	"crypto/tls"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/openbao/openbao/builtin/credential/approle"
	"github.com/openbao/openbao/builtin/credential/cert"
	kubernetes "github.com/openbao/openbao/builtin/credential/kubernetes"
	"github.com/openbao/openbao/builtin/logical/transit"
	api "github.com/openbao/openbao/http"
	"github.com/openbao/openbao/internalshared/configutil"
	"github.com/openbao/openbao/sdk/v2/helper/consts"
	"github.com/openbao/openbao/sdk/v2/logical"
	"github.com/openbao/openbao/sdk/v2/physical/inmem"
	"github.com/openbao/openbao/vault"
)

// No plugins but those that are linked in.
type none struct{}

func (none) Contains(string, consts.PluginType) bool { return false }

func (none) Get(string, consts.PluginType) (func() (interface{}, error), bool) { return nil, false }

func (none) Keys(consts.PluginType) []string { return nil }

func (none) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, true
}

func main() {
	port, certificate, key := os.Args[1], os.Args[2], os.Args[3]
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Info})
	storage, err := inmem.NewInmem(nil, logger)
	if err != nil {
		log.Fatal(err)
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		BuiltinRegistry: none{},
		LogicalBackends: map[string]logical.Factory{"transit": transit.Factory},
		CredentialBackends: map[string]logical.Factory{
			"approle":    approle.Factory,
			"cert":       cert.Factory,
			"kubernetes": kubernetes.Factory,
		},
		Physical:    storage,
		StorageType: "inmem",
		Logger:      logger,
	})
	if err != nil {
		log.Fatal(err)
	}
	server := http.Server{
		Addr: fmt.Sprintf("127.0.0.1:%s", port),
		Handler: api.Handler.Handler(&vault.HandlerProperties{
			Core:           core,
			ListenerConfig: &configutil.Listener{},
		}),
		// As its own listener: certificates are asked for, and judged by the login.
		TLSConfig: &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12},
	}
	log.Fatal(server.ListenAndServeTLS(certificate, key))
}
