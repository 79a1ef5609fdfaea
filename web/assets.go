package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"time"
)

//go:embed dist
var dist embed.FS

// assets serves the page and its parts from memory. Every part has a strong ETag, so that a browser asks
// each time and is sent a part only when it changed: names are stable, and a new binary shows at once.
type assets map[string]asset

type asset struct {
	body []byte
	etag string
	kind string
}

// newAssets reads the embedded bundle. It cannot fail on what the compiler embedded.
func newAssets() assets {
	a := assets{}
	_ = fs.WalkDir(dist, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := dist.ReadFile(name)
		sum := sha256.Sum256(body)
		a["/"+path.Base(name)] = asset{
			body: body,
			etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`,
			kind: kindOf(name),
		}
		return err
	})
	a["/"] = a["/index.html"]
	return a
}

// kindOf does not ask the machine's mime table where the answer matters.
func kindOf(name string) string {
	switch ext := path.Ext(name); ext {
	case ".woff2":
		return "font/woff2"
	case ".js":
		return "text/javascript; charset=utf-8"
	default:
		return mime.TypeByExtension(ext)
	}
}

func (a assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	part, ok := a[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", part.etag)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Content-Type", part.kind)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(part.body))
}
