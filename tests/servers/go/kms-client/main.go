// kms-client runs the API server's own KMS v2 client against a plugin: encryptionconfig loads an EncryptionConfiguration,
// and what it makes of it encrypts and decrypts as the API server does on its way to etcd.
//
// It reads one JSON request per line and answers each with one line. Requests: {"op":"load"} reads the configuration named
// on the command line anew, as a restart does; {"op":"health"}; {"op":"encrypt"|"decrypt","path":…,"data":base64}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
)

type request struct {
	Op   string `json:"op"`
	Path string `json:"path"`
	Data []byte `json:"data"`
}

type answer struct {
	Data  []byte `json:"data,omitempty"`
	Stale bool   `json:"stale"`
	Error string `json:"error"`
}

type client struct {
	file   string
	loaded *encryptionconfig.EncryptionConfiguration
	cancel context.CancelFunc
}

func (c *client) load() error {
	if c.cancel != nil {
		c.cancel()
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	loaded, err := encryptionconfig.LoadEncryptionConfig(ctx, c.file, false, "kms-client")
	c.loaded = loaded
	return err
}

func (c *client) health() error {
	for _, check := range c.loaded.HealthChecks {
		ask, err := http.NewRequest(http.MethodGet, "http://localhost/healthz", nil)
		if err != nil {
			return err
		}
		if err := check.Check(ask); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) transformer() (value.Transformer, error) {
	if found, ok := c.loaded.Transformers[schema.GroupResource{Resource: "secrets"}]; ok {
		return found, nil
	}
	return nil, fmt.Errorf("the configuration has no transformer for secrets")
}

func (c *client) answer(asked request) (given answer, err error) {
	if asked.Op == "load" {
		return given, c.load()
	}
	if c.loaded == nil {
		return given, fmt.Errorf("nothing is loaded")
	}
	if asked.Op == "health" {
		return given, c.health()
	}
	secrets, err := c.transformer()
	if err != nil {
		return given, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	where := value.DefaultContext(asked.Path)
	switch asked.Op {
	case "encrypt":
		given.Data, err = secrets.TransformToStorage(ctx, asked.Data, where)
	case "decrypt":
		given.Data, given.Stale, err = secrets.TransformFromStorage(ctx, asked.Data, where)
	default:
		err = fmt.Errorf("unknown op %q", asked.Op)
	}
	return given, err
}

func main() {
	c := client{file: os.Args[1]}
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked request
		err := json.Unmarshal(lines.Bytes(), &asked)
		var given answer
		if err == nil {
			given, err = c.answer(asked)
		}
		if err != nil {
			given.Error = err.Error()
		}
		if err := out.Encode(given); err != nil {
			os.Exit(1)
		}
	}
}
