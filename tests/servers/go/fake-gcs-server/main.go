// A stand-in for Google Cloud Storage on loopback: fake-gcs-server with one empty bucket. It keeps preconditions in its
// JSON API only; what clients of the XML API ask (PUT, GET, DELETE of /BUCKET/OBJECT, and listings) is carried over.
package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"log"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

const storage = "https://storage.googleapis.com"

type front struct {
	client *http.Client
	// Leaves preconditions out, as servers do that know nothing of them.
	careless bool
}

type object struct {
	Name       string `json:"name"`
	Size       string `json:"size"`
	Etag       string `json:"etag"`
	Generation string `json:"generation"`
	Updated    string `json:"updated"`
}

type contents struct {
	Key, LastModified, ETag, Size string
}

type listing struct {
	XMLName     xml.Name `xml:"ListBucketResult"`
	IsTruncated bool
	Contents    []contents
}

func main() {
	port := flag.Uint("port", 0, "loopback port")
	bucket := flag.String("bucket", "", "bucket to make")
	careless := flag.Bool("careless", false, "ignore preconditions")
	flag.Parse()
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true})
	if err != nil {
		log.Fatal(err)
	}
	server.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: *bucket})
	handler := front{client: server.HTTPClient(), careless: *careless}
	log.Fatal(http.ListenAndServe(fmt.Sprintf("127.0.0.1:%d", *port), handler))
}

func (f front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	place := fmt.Sprintf("%s/storage/v1/b/%s/o/%s", storage, bucket, url.PathEscape(name))
	switch {
	case name == "" && r.Method == http.MethodGet:
		f.list(w, bucket, r.URL.Query())
	case r.Method == http.MethodPut:
		f.put(w, r, bucket, name)
	case r.Method == http.MethodGet:
		var found object
		if !f.ask(w, http.MethodGet, place, &found) {
			return
		}
		// The media of this very generation: the object may change between the two requests.
		media, err := f.client.Get(place + "?alt=media&generation=" + found.Generation)
		if err != nil || media.StatusCode != http.StatusOK {
			f.ServeHTTP(w, r)
			return
		}
		defer media.Body.Close()
		head(w, found)
		w.Header().Set("Content-Length", found.Size)
		io.Copy(w, media.Body)
	case r.Method == http.MethodDelete:
		if f.ask(w, http.MethodDelete, place, nil) {
			w.WriteHeader(http.StatusNoContent)
		}
	default:
		http.Error(w, "not carried over", http.StatusNotImplemented)
	}
}

// Only this kind of upload looks at the precondition.
func (f front) put(w http.ResponseWriter, r *http.Request, bucket, name string) {
	query := url.Values{"uploadType": {"multipart"}, "name": {name}}
	if match := r.Header.Get("x-goog-if-generation-match"); match != "" && !f.careless {
		query.Set("ifGenerationMatch", match)
	}
	var body bytes.Buffer
	parts := multipart.NewWriter(&body)
	metadata, _ := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/json"}})
	json.NewEncoder(metadata).Encode(map[string]string{"name": name})
	media, _ := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/octet-stream"}})
	if _, err := io.Copy(media, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	parts.Close()
	where := fmt.Sprintf("%s/upload/storage/v1/b/%s/o?%s", storage, bucket, query.Encode())
	kind := "multipart/related; boundary=" + parts.Boundary()
	var made object
	if f.send(w, http.MethodPost, where, kind, &body, &made) {
		head(w, made)
	}
}

func (f front) list(w http.ResponseWriter, bucket string, asked url.Values) {
	query := url.Values{"prefix": {asked.Get("prefix")}, "delimiter": {asked.Get("delimiter")}}
	var found struct{ Items []object }
	where := fmt.Sprintf("%s/storage/v1/b/%s/o?%s", storage, bucket, query.Encode())
	if !f.ask(w, http.MethodGet, where, &found) {
		return
	}
	all := listing{}
	for _, o := range found.Items {
		all.Contents = append(all.Contents, contents{o.Name, o.Updated, o.Etag, o.Size})
	}
	w.Header().Set("Content-Type", "application/xml")
	xml.NewEncoder(w).Encode(all)
}

// Asks the JSON API. When it refuses, so does the answer.
func (f front) ask(w http.ResponseWriter, method, where string, into any) bool {
	return f.send(w, method, where, "", nil, into)
}

func (f front) send(w http.ResponseWriter, method, where, kind string, body io.Reader, into any) bool {
	request, err := http.NewRequest(method, where, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	request.Header.Set("Content-Type", kind)
	answer, err := f.client.Do(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return false
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		w.WriteHeader(answer.StatusCode)
		io.Copy(w, answer.Body)
		return false
	}
	if into != nil {
		if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return false
		}
	}
	return true
}

func head(w http.ResponseWriter, o object) {
	w.Header().Set("ETag", `"`+strings.Trim(o.Etag, `"`)+`"`)
	w.Header().Set("x-goog-generation", o.Generation)
	w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
}
