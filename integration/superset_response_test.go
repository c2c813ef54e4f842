package integration

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/proxyos/caddy-proxyos/integration/lab"
)

func TestResponsesAreHandledAsConfigured(t *testing.T) {
	app := plain(t, "app", "")
	app.Answer(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-App", "yes")
		w.Header().Set("X-Other", "yes")
		switch r.URL.Path {
		case "/accel":
			w.Header().Set("X-Accel-Redirect", "/file")
		case "/teapot":
			w.WriteHeader(http.StatusTeapot)
		case "/gone":
			w.WriteHeader(http.StatusGone)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		}
		io.WriteString(w, "from the app")
	})
	directives := "proxyos " + app.Addr + ` {
		@accel header X-Accel-Redirect *
		handle_response @accel {
			respond "redirected to {rp.header.X-Accel-Redirect}"
		}
		@teapot status 418
		handle_response @teapot {
			copy_response 200
		}
		@gone {
			status 404 410
		}
		handle_response @gone {
			copy_response_headers {
				include X-App
			}
			respond "was {rp.status_code}" 404
		}
		@broken status 5xx
		replace_status @broken 503
	}`
	bothForms(t, directives, func(t *testing.T, s *server) {
		for _, test := range []struct {
			path, body string
			status     int
			app, other string // X-App, X-Other
		}{
			{"/", "from the app", 200, "yes", "yes"},
			{"/accel", "redirected to /file", 200, "", ""},
			{"/teapot", "from the app", 200, "yes", "yes"},
			{"/gone", "was 410", 404, "yes", ""},
			{"/broken", "from the app", 503, "yes", "yes"},
		} {
			got := s.Do(s.Request("GET", test.path, nil))
			if got.StatusCode != test.status || got.Body != test.body || got.Header.Get("X-App") != test.app || got.Header.Get("X-Other") != test.other {
				t.Errorf("%s: got %d %q %v, want %+v", test.path, got.StatusCode, got.Body, got.Header, test)
			}
		}
	})
}

func TestAResponseMayBeHandledByAnotherRoute(t *testing.T) {
	login, app := plain(t, "login", ""), plain(t, "app", "")
	app.Answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, "app")
	})
	bothForms(t, "proxyos "+app.Addr+" {\n@denied status 401\nhandle_response @denied {\nproxyos "+login.Addr+"\n}\n}", func(t *testing.T, s *server) {
		s.Wants(http.StatusOK, "login")
		if got := s.Do(s.Request("GET", "/", nil, "Authorization", "me")); got.Body != "app" {
			t.Errorf("got %q", got.Body)
		}
	})
}

func TestEarlyHintsGoThroughEachKindOfUpstream(t *testing.T) {
	lab.ThroughEachKind(t, func(t *testing.T, s *server, b *backend) {
		b.Answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			io.WriteString(w, "done")
		})
		var hints []string
		req := s.Request("GET", "/", nil)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, header.Get("Link")))
				return nil
			},
		}))
		got := s.Do(req)
		if want := "103</style.css>; rel=preload"; len(hints) != 1 || hints[0] != want || got.Body != "done" || got.StatusCode != http.StatusOK {
			t.Errorf("hints %q, then %d %q", hints, got.StatusCode, got.Body)
		}
	})
}

func TestAResponseIsFlushedAsConfigured(t *testing.T) {
	app := plain(t, "app", "")
	for _, test := range []struct {
		options string
		early   bool // the first line arrives before the response is over
	}{
		{"flush_interval -1", true},
		{"flush_interval 1ms", true},
		{"flush_interval 1ms\nstream_buffer_size 1KiB", true},
		{"response_buffers 1MiB", false},
	} {
		t.Run(test.options, func(t *testing.T) {
			bothForms(t, "proxyos "+app.Addr+" {\n"+test.options+"\n}", func(t *testing.T, s *server) {
				goOn := make(chan struct{})
				app.Answer(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Length", "10") // else Caddy flushes whatever is written
					io.WriteString(w, "one\n")
					http.NewResponseController(w).Flush()
					<-goOn
					io.WriteString(w, "three\n")
				})
				if !test.early {
					close(goOn) // buffered whole, or nothing would ever arrive
				}
				res, err := s.Client.Get(s.URL)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				reader := bufio.NewReader(res.Body)
				if line, err := reader.ReadString('\n'); line != "one\n" {
					t.Fatalf("got %q, %v", line, err)
				}
				if test.early {
					close(goOn)
				}
				if line, err := reader.ReadString('\n'); line != "three\n" {
					t.Errorf("got %q, %v", line, err)
				}
			})
		})
	}
}

func TestABufferedResponseIsWhole(t *testing.T) {
	app := plain(t, "app", "")
	app.Answer(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, strings.Repeat("x", 100_000))
	})
	bothForms(t, "proxyos "+app.Addr+" {\nresponse_buffers unlimited\n}", func(t *testing.T, s *server) {
		if got := s.Do(s.Request("GET", "/", nil)); got.StatusCode != http.StatusCreated || len(got.Body) != 100_000 {
			t.Errorf("got %d and %d bytes", got.StatusCode, len(got.Body))
		}
	})
}
