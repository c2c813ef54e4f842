package proxyos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/proxyos/caddy-proxyos/internal/dashboard"
)

func dashboardCommand() *cobra.Command {
	o := new(steerOptions)
	listen, open := "127.0.0.1:0", false
	command := o.command("dashboard", "Serves a page that shows and steers the routes", `
The page is for this machine and for you alone: it listens on loopback, and the
link that is printed works once, in one browser. What is done on it goes to the
admin API. Its graphs begin with the command. Ends with Ctrl-C.

For a page that stays, see the directive proxyos_dashboard.`, "caddy proxyos dashboard --open",
		func(c adminClient, out printer, _ []string) (int, error) {
			return serveDashboard(c, out, listen, open)
		})
	command.Flags().StringVar(&listen, "listen", listen, "Loopback address to listen on")
	command.Flags().BoolVar(&open, "open", false, "Open the link in a browser")
	command.Flags().Lookup("json").Hidden = true
	return command
}

// serveDashboard serves the page until the context of the client ends.
func serveDashboard(c adminClient, out printer, address string, open bool) (int, error) {
	if err := checkLoopback(address); err != nil {
		return exitUsage, err
	}
	ctx, stop := signal.NotifyContext(c.ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := c.snapshot(ctx); err != nil {
		return exitFailed, err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return exitFailed, fmt.Errorf("listening on %s: %w", address, err)
	}
	hub := dashboard.NewHub(remoteRoutes{c}, dashboard.NewHistory())
	page := dashboard.NewServer(hub, dashboard.Options{Controls: true, By: func(*http.Request) string { return operator() }})
	private := dashboard.NewPrivate(page, listener.Addr().String())
	server := &http.Server{Handler: private, ReadHeaderTimeout: 10 * time.Second}

	go hub.Run(ctx)
	link := private.Link()
	fmt.Fprintf(out.out, "%s\n", link)
	fmt.Fprintln(out.notes, "This link works once. Press Ctrl-C to end.")
	if open {
		if err := openBrowser(link); err != nil {
			fmt.Fprintf(out.notes, "No browser could be opened: %v\n", err)
		}
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return exitFailed, err
	case <-ctx.Done():
	}
	ending, done := context.WithTimeout(context.Background(), stopWait)
	defer done()
	if err := server.Shutdown(ending); err != nil {
		return exitFailed, errors.Join(err, server.Close())
	}
	return 0, nil
}

// checkLoopback rejects addresses that others can reach.
func checkLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return usageErrorf("--listen %s: %v; write an address such as 127.0.0.1:0", address, err)
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return usageErrorf("--listen %s: this page is only for this machine; write a loopback address such as 127.0.0.1:0, or use the directive proxyos_dashboard", address)
	}
	return nil
}

// openBrowser opens a link in the browser of whoever has called the command.
func openBrowser(link string) error {
	name, args := "xdg-open", []string{link}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", link}
	}
	command := exec.Command(name, args...)
	if err := command.Start(); err != nil {
		return err
	}
	go func() { _ = command.Wait() }() // or it would stay as a zombie
	return nil
}

// remoteRoutes is the routes of a running Caddy, as a dashboard sees and steers them by its admin API.
type remoteRoutes struct{ client adminClient }

// Snapshot implements dashboard.Source.
func (s remoteRoutes) Snapshot(ctx context.Context) (*dashboard.Snapshot, error) {
	return s.client.snapshot(ctx)
}

// Do implements dashboard.Source.
func (s remoteRoutes) Do(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	client := s.client
	client.ctx = ctx
	return client.send(method, "/proxyos/routes/"+path, body)
}

// snapshot asks for what a dashboard shows.
func (c adminClient) snapshot(ctx context.Context) (*dashboard.Snapshot, error) {
	c.ctx = ctx
	snapshot := new(dashboard.Snapshot)
	return snapshot, c.do(http.MethodGet, "/proxyos/dashboard", nil, snapshot)
}

// Interface guard
var _ dashboard.Source = remoteRoutes{}
