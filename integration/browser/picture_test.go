//go:build browser

package browser

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/proxyos/caddy-proxyos/integration/lab"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// picture is what the README shows.
const picture = "../../docs/dashboard.png"

const (
	pictureWidth   = 1200
	pictureMinutes = 14 // of traffic, so that the lines show something
	largestPicture = 150_000
)

func TestTheReadmesPictureIsSmall(t *testing.T) {
	if os.Getenv("PROXYOS_PICTURE") == "1" {
		paint(t)
	}
	content, err := os.ReadFile(picture)
	if err != nil {
		t.Fatalf("%v; make it with PROXYOS_PICTURE=1", err)
	}
	config, err := png.DecodeConfig(bytes.NewReader(content))
	if err != nil {
		t.Fatalf("%s: %v", picture, err)
	}
	if len(content) >= largestPicture || config.Width != pictureWidth {
		t.Errorf("%s has %d bytes and a width of %d; it should have less than %d and %d", picture, len(content), config.Width, largestPicture, pictureWidth)
	}
}

// paint makes the picture: a shop whose next version is released.
func paint(t *testing.T) {
	serving := func(b *proxytest.Backend, median time.Duration, failing float64) *proxytest.Backend {
		b.Answer(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Duration(float64(median) * math.Exp(rand.NormFloat64()*0.5)))
			if rand.Float64() < failing {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			fmt.Fprintln(w, b.Name)
		})
		return b
	}
	one := serving(proxytest.Plain(t, "one", "127.0.0.11:8000"), 14*time.Millisecond, 0.004)
	two := serving(proxytest.Untrusted(t, "two", "127.0.0.12:8443"), 16*time.Millisecond, 0.004)
	two.Stop()
	two.TLS = proxytest.Serving(proxytest.SelfSignedFor(t, -time.Hour, 83*24*time.Hour+time.Hour, two.Addr))
	two.Start()
	next := serving(proxytest.Plain(t, "next", "127.0.0.21:8000"), 9*time.Millisecond, 0.001)
	c := lab.NewChild(t)
	c.Write(lab.Adapt(t, quick+c.Site(withControls)+"http://shop.example.com:"+proxytest.PortOf(t, c.Addr)+" {\nbind 127.0.0.1\n"+
		directive(one.Addr+" "+two.Addr, "name shop", "staging "+next.Addr, "traffic_split 0", "skip_tls_verify",
			"release {\nsteps 5 25 50 100\nhold 4m\nmin_requests 100\napprove 100\n}")+"\n}\n"))
	c.Start()
	start := sync.OnceFunc(func() {
		if status, answer := c.Ask(http.MethodPost, "/proxyos/routes/shop/release", `{"action": "start", "by": "alice"}`); status != http.StatusOK {
			t.Errorf("starting the release: %d %s", status, answer)
		}
	})
	var crowd sync.WaitGroup
	for began := time.Now(); time.Since(began) < pictureMinutes*time.Minute; {
		if time.Since(began) > time.Minute {
			start()
		}
		crowd.Go(func() {
			if res, err := c.Client.Do(c.Request(http.MethodGet, "/", nil, "Host", "shop.example.com")); err == nil {
				res.Body.Close()
			}
		})
		phase := time.Since(began).Minutes() / pictureMinutes * 2 * math.Pi
		perSecond := 40 + 14*math.Sin(2.3*phase) + 7*math.Sin(9*phase) + 5*rand.NormFloat64()
		time.Sleep(time.Duration(float64(time.Second) / max(perSecond, 5)))
	}
	b := newTab(t, c.Addr)
	b.size(pictureWidth, 900)
	b.scheme("light")
	b.openLive("/proxyos/?route=shop")
	b.wait("the release is running", `document.getElementById("release").innerText.includes("running")`)
	bottom := get[float64](b, `document.querySelector("table.upstreams").getBoundingClientRect().bottom + scrollY`)
	var taken []byte
	b.do("taking the picture", chromedp.ActionFunc(func(ctx context.Context) (err error) {
		taken, err = page.CaptureScreenshot().WithCaptureBeyondViewport(true).
			WithClip(&page.Viewport{Width: pictureWidth, Height: math.Ceil(bottom) + 20, Scale: 1}).Do(ctx)
		return err
	}))
	crowd.Wait()
	keep(t, taken)
}

// keep writes a picture down in 256 colors, which are enough for one of a page.
func keep(t *testing.T, taken []byte) {
	from, err := png.Decode(bytes.NewReader(taken))
	if err != nil {
		t.Fatal(err)
	}
	often := make(map[color.RGBA]int)
	area := from.Bounds()
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			often[color.RGBAModel.Convert(from.At(x, y)).(color.RGBA)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(often), func(a, b color.RGBA) int { return often[b] - often[a] })
	palette := make(color.Palette, min(len(colors), 256))
	for i := range palette {
		palette[i] = colors[i]
	}
	to := image.NewPaletted(area, palette)
	draw.Draw(to, area, from, area.Min, draw.Src)
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, to); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(picture, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
