// Package clustertest runs three Caddys on one storage through what storages do to them, with
// requests counted all the while.
package clustertest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

// Storage is a storage under test.
type Storage interface {
	Config() map[string]any         // of Caddy's storage module
	Read() []byte                   // the document with the shares that were set
	Write(t testing.TB, raw []byte) // in its place
	Lose(t testing.TB)              // everything
}

// Interval is how often the instances read the storage.
const Interval = 500 * time.Millisecond

// Cluster is three Caddys with the route app, and its backends.
type Cluster struct {
	Instances           []*Instance
	Production, Staging *proxytest.Backend

	t testing.TB
}

// Instance is one Caddy of a cluster, in a process and with a data folder of its own.
type Instance struct {
	*proxytest.Caddy
	cluster *Cluster
	home    string
	binary  string
	storage Storage
	command *exec.Cmd
	ended   chan struct{}
}

// New starts a cluster whose instances have a configured share.
func New(t testing.TB, binary string, storage Storage, configured float64) *Cluster {
	t.Helper()
	c := &Cluster{Production: proxytest.Plain(t, "production", ""), Staging: proxytest.Plain(t, "staging", ""), t: t}
	for range 3 {
		i := &Instance{Caddy: proxytest.NewCaddyOutside(t), cluster: c, home: t.TempDir(), binary: binary, storage: storage}
		t.Cleanup(func() { i.end(syscall.SIGKILL) })
		i.Start(configured)
		c.Instances = append(c.Instances, i)
	}
	return c
}

func (i *Instance) config(configured float64) []byte {
	i.cluster.t.Helper()
	prepared, err := i.Prepare(i.routes(configured))
	var config map[string]any
	if err == nil {
		err = json.Unmarshal(prepared, &config)
	}
	config["storage"] = i.storage.Config()
	if err == nil {
		prepared, err = json.Marshal(config)
	}
	if err != nil {
		i.cluster.t.Fatal(err)
	}
	return prepared
}

func (i *Instance) routes(configured float64) string {
	var config map[string]any
	handler := fmt.Sprintf(`{"handler": "proxyos", "name": "app", "traffic_split": %v,
		"upstreams": [%q], "staging": {"upstreams": [%q]}}`, configured, i.cluster.Production.Addr, i.cluster.Staging.Addr)
	if err := json.Unmarshal([]byte(i.Caddy.Routes(handler)), &config); err != nil {
		i.cluster.t.Fatal(err)
	}
	config["apps"].(map[string]any)["proxyos"] = map[string]any{"sync_interval": Interval.String()}
	text, err := json.Marshal(config)
	if err != nil {
		i.cluster.t.Fatal(err)
	}
	return string(text)
}

// Start starts the instance with a configured share.
func (i *Instance) Start(configured float64) {
	t := i.cluster.t
	t.Helper()
	file := filepath.Join(i.home, "config.json")
	if err := os.WriteFile(file, i.config(configured), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(i.binary, "run", "--config", file)
	command.Env = append(os.Environ(), "HOME="+i.home, "XDG_DATA_HOME="+i.home, "XDG_CONFIG_HOME="+i.home)
	command.Dir, command.Stdout, command.Stderr = i.home, i.Logs, i.Logs
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	i.command, i.ended = command, ended
	go func() {
		command.Wait()
		close(ended)
	}()
	proxytest.Eventually(t, "the instance answers", func() bool {
		select {
		case <-ended:
			t.Fatalf("the instance ended:\n%s", i.Logs)
		default:
		}
		status, _ := i.try(http.MethodGet, "/config/", "")
		return status == http.StatusOK
	})
}

func (i *Instance) end(signal syscall.Signal) {
	if i.command == nil {
		return
	}
	_ = i.command.Process.Signal(signal)
	<-i.ended
	i.command = nil
	i.Client.CloseIdleConnections()
}

// Kill ends the instance as kill -9 does.
func (i *Instance) Kill() { i.end(syscall.SIGKILL) }

// Reload loads a config with another configured share.
func (i *Instance) Reload(configured float64) {
	i.cluster.t.Helper()
	if status, answer := i.Ask(http.MethodPost, "/load", string(i.config(configured))); status != http.StatusOK {
		i.cluster.t.Fatalf("reloading: %d %s", status, answer)
	}
	i.Client.CloseIdleConnections()
}

// Ask sends a request to the instance's admin API.
func (i *Instance) Ask(method, path, body string) (status int, answer string) {
	i.cluster.t.Helper()
	status, answer = i.try(method, path, body)
	if status == 0 && method == http.MethodGet { // the admin server is another one after a reload
		status, answer = i.try(method, path, body)
	}
	return status, answer
}

func (i *Instance) try(method, path, body string) (status int, answer string) {
	request, err := http.NewRequest(method, "http://"+i.Admin+path, strings.NewReader(body))
	if err != nil {
		i.cluster.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := i.Client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(content)
}

// Command runs `caddy proxyos …` with the instance's admin API.
func (i *Instance) Command(arguments ...string) (code int, output string) {
	command := exec.Command(i.binary, append(append([]string{"proxyos"}, arguments...), "--address", i.Admin)...)
	command.Env = append(os.Environ(), "HOME="+i.home, "XDG_DATA_HOME="+i.home, "XDG_CONFIG_HOME="+i.home)
	text, _ := command.CombinedOutput() // the code says whether it failed
	return command.ProcessState.ExitCode(), string(text)
}

// Set sets the share, and once more where another instance has set it meanwhile.
func (i *Instance) Set(percent float64) {
	i.cluster.t.Helper()
	body := fmt.Sprintf(`{"traffic_split": %v}`, percent)
	status, answer := i.Ask(http.MethodPatch, "/proxyos/routes/app", body)
	for status == http.StatusConflict {
		status, answer = i.Ask(http.MethodPatch, "/proxyos/routes/app", body)
	}
	if status != http.StatusOK {
		i.cluster.t.Fatalf("setting the share to %v %%: %d %s", percent, status, answer)
	}
}

// Share returns the share in force.
func (i *Instance) Share() float64 {
	i.cluster.t.Helper()
	status, answer := i.Ask(http.MethodGet, "/proxyos/routes/app", "")
	var route struct {
		TrafficSplit float64 `json:"traffic_split"`
	}
	if err := json.Unmarshal([]byte(answer), &route); status != http.StatusOK || err != nil {
		i.cluster.t.Fatalf("showing the route: %d %s", status, answer)
	}
	return route.TrafficSplit
}

// Agree waits until all instances have a share, two intervals at most.
func (c *Cluster) Agree(percent float64) {
	c.t.Helper()
	began := time.Now()
	var shares []float64
	proxytest.Eventually(c.t, fmt.Sprintf("%v %% is in force everywhere", percent), func() bool {
		shares = nil
		for _, i := range c.Instances {
			shares = append(shares, i.Share())
		}
		return !slices.ContainsFunc(shares, func(share float64) bool { return share != percent })
	})
	if took := time.Since(began); took > 2*Interval+250*time.Millisecond {
		c.t.Errorf("the instances agree on %v %% after %s, want two intervals of %s at most", percent, took, Interval)
	}
}

// Stay checks that all instances keep a share for some intervals.
func (c *Cluster) Stay(percent float64, intervals int) {
	c.t.Helper()
	for began := time.Now(); time.Since(began) < time.Duration(intervals)*Interval; time.Sleep(Interval / 5) {
		for n, i := range c.Instances {
			if i.command == nil {
				continue
			}
			if share := i.Share(); share != percent {
				c.t.Fatalf("instance %d has %v %%, want %v", n, share, percent)
			}
		}
	}
}

// Drive sends requests to an instance until stop, which returns how many each answer had.
func (i *Instance) Drive() (stop func() map[string]int) {
	client := proxytest.NewClient(i.cluster.t)
	client.Transport.(*http.Transport).DisableKeepAlives = true
	done, ended := make(chan struct{}), make(chan struct{})
	answers := make(map[string]int)
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
			}
			response, err := client.Get(i.URL)
			if err != nil {
				answers["none"]++ // what a reload or a kill cuts off
				continue
			}
			body, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				answers[response.Status]++
			} else {
				answers[string(body)]++
			}
		}
	}()
	return sync.OnceValue(func() map[string]int {
		close(done)
		<-ended
		return answers
	})
}

// Only drives all instances meanwhile, and checks that all answers are those of one group.
func (c *Cluster) Only(group string, meanwhile func()) {
	c.t.Helper()
	c.driven(meanwhile, group)
}

// Served drives all instances meanwhile, and checks that all answers are those of a group.
func (c *Cluster) Served(meanwhile func()) {
	c.t.Helper()
	c.driven(meanwhile, "production", "staging")
}

func (c *Cluster) driven(meanwhile func(), groups ...string) {
	c.t.Helper()
	var stops []func() map[string]int
	for _, i := range c.Instances {
		stops = append(stops, i.Drive())
	}
	meanwhile()
	for n, stop := range stops {
		answers, served := stop(), 0
		for answer, count := range answers {
			if slices.Contains(groups, answer) {
				served += count
			} else if answer != "none" {
				c.t.Errorf("instance %d: %d answers are %q, want only %v; all are %v", n, count, answer, groups, answers)
			}
		}
		if served == 0 {
			c.t.Errorf("instance %d: no answer is from %v: %v", n, groups, answers)
		}
		c.t.Logf("instance %d: %v", n, answers)
	}
}
