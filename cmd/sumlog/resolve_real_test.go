// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/module"

	"example.org/sumlog/mirror/upstream"
)

// realModules are of all kinds. Some are required at an older version.
var realModules = []string{
	// Only pseudo-versions.
	"golang.org/x/exp v0.0.0-20240719175910-8a7402abbf56",
	"golang.org/x/lint",
	"golang.org/x/xerrors v0.0.0-20200804184101-5ec99f83aff1",
	"k8s.io/utils v0.0.0-20240711033017-18e509b52bc8",
	"gopkg.in/tomb.v1",
	"github.com/google/pprof",
	"github.com/alecthomas/units",
	"github.com/mwitkow/go-conntrack",
	"google.golang.org/genproto/googleapis/api",
	"gopkg.in/check.v1 v1.0.0-20180628173108-788fd7840127",

	// Versions without a go.mod of their major version.
	"github.com/docker/docker v20.10.5+incompatible",
	"github.com/dgrijalva/jwt-go",
	"github.com/golang-jwt/jwt",
	"github.com/google/go-github",
	"github.com/gofrs/uuid",
	"github.com/russross/blackfriday",
	"github.com/coreos/etcd",
	"go.etcd.io/etcd",
	"k8s.io/client-go",

	// Retracted.
	"github.com/mattn/go-sqlite3 v1.14.0",
	"github.com/klauspost/compress",
	"github.com/gorilla/websocket",
	"cloud.google.com/go",

	// Nested, and several major versions.
	"cloud.google.com/go/storage",
	"github.com/aws/aws-sdk-go-v2",
	"github.com/aws/aws-sdk-go-v2/service/s3",
	"go.etcd.io/etcd/client/v3",
	"github.com/hashicorp/golang-lru v0.5.4",
	"github.com/hashicorp/golang-lru/v2",
	"github.com/Masterminds/semver",
	"github.com/Masterminds/semver/v3 v3.1.0",
	"rsc.io/quote",
	"rsc.io/quote/v3",
	"k8s.io/klog/v2",

	// Others.
	"gopkg.in/yaml.v2",
	"gopkg.in/yaml.v3",
	"gopkg.in/inf.v0",
	"golang.org/x/mod",
	"golang.org/x/text",
	"github.com/BurntSushi/toml v0.3.1",
	"github.com/pkg/errors",
	"github.com/satori/go.uuid",
	"github.com/golang/protobuf",
	"github.com/example/nothing-that-exists",
}

// realImports are of small modules that need little.
var realImports = []string{
	"github.com/BurntSushi/toml", "github.com/Masterminds/semver/v3", "github.com/alecthomas/units",
	"github.com/golang-jwt/jwt", "github.com/pkg/errors", "github.com/satori/go.uuid", "golang.org/x/xerrors",
	"gopkg.in/inf.v0", "gopkg.in/tomb.v1", "gopkg.in/yaml.v2", "gopkg.in/yaml.v3", "k8s.io/utils/ptr",
	"rsc.io/quote", "rsc.io/quote/v3",
}

// TestRealResolution is TestResolution for modules of the world, from the upstream
// and with the database that go env names.
func TestRealResolution(t *testing.T) {
	if os.Getenv("CI") != "true" {
		t.Skip("it asks the world for some hundred files, and runs with CI=true")
	}
	env, err := goEnv(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := reach(env["GOPROXY"], env["GOSUMDB"]); err != nil {
		t.Skipf("the upstream of go env GOPROXY cannot be reached: %v", err)
	}
	list, err := upstream.ParseList(env["GOPROXY"])
	if err != nil {
		t.Fatal(err)
	}
	w := &world{url: list.Entries[0].URL.String(), answers: map[string]*worldAnswer{}}
	for name, latest := range map[string]bool{"latest": true, "no latest": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := httptest.NewServer(w.handler(latest))
			t.Cleanup(up.Close)
			j := newJudge(t, up.URL, serveNew(t, "-upstream", up.URL, "-sumdb", env["GOSUMDB"]))
			for _, m := range realModules {
				path, current, _ := strings.Cut(m, " ")
				j.add(path, current)
			}
			j.lists()
			j.tidy(realImports)
		})
	}
}

// A world is the public upstream, which is asked everything once: so that who asks
// later gets the same answer.
type world struct {
	url string

	mu      sync.Mutex
	answers map[string]*worldAnswer // by path
}

type worldAnswer struct {
	sync.Once
	status int
	body   []byte
}

// handler serves what the world has in one of two ways. Proxies with latest list no
// pseudo-versions. Those without list the one that is the latest, at least.
func (w *world) handler(latest bool) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		mod, isLatest := strings.CutSuffix(path, "/@latest")
		a := w.get(path)
		switch {
		case isLatest && latest:
			a = w.latest(mod)
		case isLatest:
			a = &worldAnswer{status: http.StatusNotFound}
		case strings.HasSuffix(path, "/@v/list") && a.status == http.StatusOK:
			a = w.list(strings.TrimSuffix(path, "/@v/list"), !latest)
		}
		rw.WriteHeader(a.status)
		rw.Write(a.body)
	})
}

// latest is the @latest of the world, or one made of its list.
func (w *world) latest(mod string) *worldAnswer {
	if a := w.get(mod + "/@latest"); a.status != http.StatusNotFound {
		return a
	}
	best := ""
	for v := range strings.FieldsSeq(string(w.get(mod + "/@v/list").body)) {
		if module.IsPseudoVersion(v) && pseudoTime(v).After(pseudoTime(best)) {
			best = v
		}
	}
	if best == "" {
		return &worldAnswer{status: http.StatusNotFound}
	}
	escaped, err := module.EscapeVersion(best)
	if err != nil {
		return &worldAnswer{status: http.StatusNotFound}
	}
	return w.get(mod + "/@v/" + escaped + ".info")
}

// list is the list of the world, with pseudo-versions, the latest's at least, or
// without any.
func (w *world) list(mod string, pseudo bool) *worldAnswer {
	list := strings.Fields(string(w.get(mod + "/@v/list").body))
	var info struct{ Version string }
	if l := w.latest(mod); l.status == http.StatusOK && json.Unmarshal(l.body, &info) == nil && !slices.Contains(list, info.Version) {
		list = append(list, info.Version)
	}
	list = slices.DeleteFunc(list, func(v string) bool { return module.IsPseudoVersion(v) && !pseudo })
	return &worldAnswer{status: http.StatusOK, body: []byte(strings.Join(list, "\n") + "\n")}
}

func pseudoTime(v string) time.Time {
	t, _ := module.PseudoVersionTime(v) // of what is none, it is the earliest
	return t
}

// get asks the world, thrice if it does not answer.
func (w *world) get(path string) *worldAnswer {
	w.mu.Lock()
	a := w.answers[path]
	if a == nil {
		a = new(worldAnswer)
		w.answers[path] = a
	}
	w.mu.Unlock()
	a.Do(func() {
		for range 3 {
			var err error
			if a.status, a.body, err = ask(w.url + path); err == nil && a.status < 500 {
				return
			}
			a.body = fmt.Appendf(nil, "%v", err)
		}
		a.status = http.StatusBadGateway
	})
	return a
}

var worldClient = http.Client{Timeout: 30 * time.Second}

func ask(url string) (status int, body []byte, err error) {
	resp, err := worldClient.Get(url)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}
