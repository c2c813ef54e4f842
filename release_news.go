package proxyos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/proxyos/caddy-proxyos/internal/release"
)

// followRelease has the route follow the release that is stored for it, and tells what has changed
// if the config has been in force.
func (r *route) followRelease(stored *release.State, isInForce bool) (news releaseNews) {
	news = r.state.follow(stored)
	if !isInForce || !news.isNews() {
		return news
	}
	now := news.now
	level := zapcore.InfoLevel
	if now.Failed || now.Phase == release.RolledBack {
		level = zapcore.WarnLevel
	}
	r.logger.Log(level, "the release is "+phaseText(now.Phase), zap.String("route", r.name), zap.Float64("percent", now.Percent()),
		zap.String("reason", now.Reason), zap.Bool("dry_run", now.Plan.DryRun))
	r.emit(releaseEvent, map[string]any{"phase": string(now.Phase), "percent": now.Percent(), "reason": now.Reason, "dry_run": now.Plan.DryRun})
	return news
}

// releaseNotice is the body of the POST that tells of a change of a release.
type releaseNotice struct {
	Text    string        `json:"text"` // all of it in a sentence, which chats show
	Route   string        `json:"route"`
	Phase   release.Phase `json:"phase"`
	Percent float64       `json:"percent"` // of the requests, for staging, on this step
	Reason  string        `json:"reason"`
	At      time.Time     `json:"at"`
	DryRun  bool          `json:"dry_run,omitempty"`
}

func newReleaseNotice(route string, s *release.State) releaseNotice {
	text := fmt.Sprintf("release of %s: %s at %s: %s", route, phaseText(s.Phase), percentText(s.Percent()), s.Reason)
	if s.Plan.DryRun {
		text = "dry run, " + text
	}
	return releaseNotice{text, route, s.Phase, s.Percent(), s.Reason, s.ChangedAt, s.Plan.DryRun}
}

const (
	noticeTries = 3
	noticeTime  = 5 * time.Second // for each
)

// noticeClient follows no redirect, which would make a GET of the POST: mostly to a page to log in.
var noticeClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// notify sends a change of a release, which this instance has made, to where the configuration says:
// beside everything else, and also where the config is replaced meanwhile. It takes 18 seconds at most.
func (s *steering) notify(route *route, news releaseNews) {
	if route.release == nil || route.release.Notify == "" || !news.isNews() {
		return
	}
	body := encode(newReleaseNotice(route.name, news.now))
	address, name, logger := route.release.Notify, route.name, s.logger
	go func() {
		var err error
		for try := range noticeTries {
			time.Sleep(time.Duration(try) * time.Second)
			if err = postNotice(address, body); err == nil {
				return
			}
		}
		logger.Warn("notify: a change of a release could not be told, after three tries; it is in force all the same", zap.String("route", name), zap.Error(err))
	}()
}

func postNotice(address string, body json.RawMessage) error {
	ctx, cancel := context.WithTimeout(context.Background(), noticeTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := noticeClient.Do(req)
	if failure, ok := errors.AsType[*url.Error](err); ok {
		return failure.Err // without the address, which may be a secret
	}
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAdminBody))
	if res.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("it answers with HTTP %d", res.StatusCode)
	}
	return nil
}
