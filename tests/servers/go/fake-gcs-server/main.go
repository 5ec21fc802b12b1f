// A stand-in for Google Cloud Storage on loopback: fake-gcs-server with one empty bucket.
package main

import (
	"flag"
	"log"
	"net/url"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

func main() {
	port := flag.Uint("port", 0, "loopback port")
	public := flag.String("public", "", "host and port that clients name")
	bucket := flag.String("bucket", "", "bucket to make")
	flag.Parse()
	host := *public
	if parsed, err := url.Parse("//" + host); err != nil || parsed.Host == "" {
		log.Fatalf("-public %q is no host and port", host)
	}
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		Scheme:     "http",
		Host:       "127.0.0.1",
		Port:       uint16(*port),
		PublicHost: host,
		NoListener: false,
	})
	if err != nil {
		log.Fatal(err)
	}
	server.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: *bucket})
	select {}
}
