package sync

// Webhooks: an API, or something beside it, says that a table has changed, and
// an increment begins at once.

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// webhookWindow is how far a delivery's timestamp may be from our clock.
	webhookWindow = 5 * time.Minute
	// maxWebhook bounds a delivery's body, in bytes.
	maxWebhook = 256 << 10
)

// Headers of a delivery.
const (
	timestampHeader = "Hallway-Timestamp"
	signatureHeader = "Hallway-Signature"
)

// Webhooks answers POST /webhooks/{database}/{schema}/{table}. A delivery has
// two headers: Hallway-Timestamp, seconds since 1970, and Hallway-Signature,
// "sha256=" and the HMAC-SHA256, in hexadecimal digits, of the timestamp, a full
// stop and the body, with the secret that the table's option webhook_secret
// names. It is answered 202; 401 if anything about it is not as it must be,
// without a word about what; 409 if it came before; 413 if it is too long; 503
// if the database cannot be asked.
func (m *Manager) Webhooks() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhooks/{database}/{schema}/{table}", m.webhook)
	return mux
}

// ListenWebhooks serves Webhooks on an address until ctx ends. The listener is
// open when it returns.
func (m *Manager) ListenWebhooks(ctx context.Context, address string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening for webhooks: %w", err)
	}
	srv := &http.Server{Handler: m.Webhooks(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 15 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	go func() {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(stop) != nil {
			_ = srv.Close()
		}
	}()
	go func() {
		if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			m.cfg.Log.Error("serving webhooks", "error", err.Error())
		}
	}()
	m.cfg.Log.Info("listening for webhooks", "address", l.Addr().String())
	return nil
}

var (
	errRefused  = errors.New("not a delivery that we know")
	errReplayed = errors.New("it came before")
)

func (m *Manager) webhook(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxWebhook))
	if err != nil {
		http.Error(w, "the body is too long, or was cut", http.StatusRequestEntityTooLarge)
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), 10*time.Second)
	defer cancel()
	err = m.deliver(ctx, req, body, time.Now())
	switch {
	case err == nil:
		w.WriteHeader(http.StatusAccepted)
	case errors.Is(err, errRefused):
		m.cfg.Log.Info("refusing a webhook", "path", req.URL.Path, "error", err.Error())
		http.Error(w, "refused", http.StatusUnauthorized)
	case errors.Is(err, errReplayed):
		http.Error(w, "this delivery came before", http.StatusConflict)
	default:
		m.cfg.Log.Warn("taking a webhook", "path", req.URL.Path, "error", err.Error())
		http.Error(w, "try again later", http.StatusServiceUnavailable)
	}
}

func refused(why string) error { return fmt.Errorf("%w: %s", errRefused, why) }

// deliver checks a delivery and asks for an increment.
func (m *Manager) deliver(ctx context.Context, req *http.Request, body []byte, now time.Time) error {
	stamp := req.Header.Get(timestampHeader)
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return refused("no timestamp")
	}
	if d := now.Sub(time.Unix(seconds, 0)); d > webhookWindow || d < -webhookWindow {
		return refused("its timestamp is too far from our clock")
	}
	text, ok := strings.CutPrefix(req.Header.Get(signatureHeader), "sha256=")
	signature, err := hex.DecodeString(text)
	if !ok || err != nil || len(signature) != sha256.Size {
		return refused("no signature")
	}
	signed := append(append([]byte(stamp), '.'), body...)
	for _, n := range m.find(req.PathValue("database")) {
		err = n.deliver(ctx, m.cfg.Secrets, req.PathValue("schema"), req.PathValue("table"), signed, signature)
		if !errors.Is(err, errRefused) {
			return err
		}
	}
	if err == nil {
		return refused("no such database")
	}
	return err
}

func (n *node) deliver(ctx context.Context, secrets Secrets, schemaName, table string, signed, signature []byte) error {
	conn, err := n.m.cfg.Databases.Database(n.id, n.at).Acquire(ctx)
	if err != nil {
		return fmt.Errorf("asking the database: %w", err)
	}
	defer conn.Release()
	var relid uint32
	var name *string
	err = conn.QueryRow(ctx, `SELECT t.relid, t.webhook_secret FROM hallway.replicated_tables t
JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace s ON s.oid = c.relnamespace
WHERE s.nspname = $1 AND c.relname = $2`, schemaName, table).Scan(&relid, &name)
	if errors.Is(err, pgx.ErrNoRows) {
		return refused("no such replica")
	}
	if err != nil {
		return fmt.Errorf("asking the database: %w", err)
	}
	key, err := webhookKey(secrets, deref(name))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(signed)
	if !hmac.Equal(mac.Sum(nil), signature) {
		return refused("wrong signature")
	}
	tag, err := conn.Exec(ctx, `INSERT INTO hallway.webhook_deliveries (relid, signature) VALUES ($1, $2) ON CONFLICT DO NOTHING`, relid, signature)
	if err != nil {
		return fmt.Errorf("noting a delivery: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return errReplayed
	}
	return n.request(ctx, conn.Conn(), relid)
}

// webhookKey finds the key. A secret of several values must have one of the name
// webhook_secret.
func webhookKey(secrets Secrets, name string) ([]byte, error) {
	if name == "" || secrets == nil {
		return nil, refused("the table has no webhook_secret, or the sidecar no secrets")
	}
	values, err := secrets.Lookup(name)
	if err != nil {
		return nil, refused("the secret of the option webhook_secret cannot be read")
	}
	for _, k := range []string{"", "webhook_secret"} {
		if v := values[k]; len(v) >= 16 {
			return []byte(v), nil
		}
	}
	return nil, refused("the secret of the option webhook_secret has no value of at least 16 bytes")
}

// request asks for a run that begins after now.
func (n *node) request(ctx context.Context, conn *pgx.Conn, relid uint32) error {
	_, err := conn.Exec(ctx, `UPDATE hallway.replicas SET requested_at = clock_timestamp() WHERE relid = $1`, relid)
	if err == nil {
		// Another sidecar may be the one that works.
		_, err = conn.Exec(ctx, `SELECT pg_notify('hallway_sync', '')`)
	}
	if err != nil {
		return fmt.Errorf("asking for a sync: %w", err)
	}
	n.poke()
	return nil
}
