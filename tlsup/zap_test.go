package tlsup

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func TestZap(t *testing.T) {
	var book logBook
	handler := slog.NewTextHandler(&book, &slog.HandlerOptions{Level: slog.LevelDebug})
	log := zap.New(&slogCore{handler: handler}).Named("maintenance").With(zap.String("identifier", "pop.example.test"))
	log.Warn("retry", zap.Duration("in", time.Second), zap.Error(errors.New("no route")), zap.Strings("names", []string{"a", "b"}))
	want := `level=WARN msg=retry identifier=pop.example.test logger=maintenance in=1s error="no route" names="[a b]"` + "\n"
	if _, got, _ := strings.Cut(book.String(), " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// What an order's parties say is left to keeper.event.
func TestZapOrders(t *testing.T) {
	var book logBook
	log := zap.New(&slogCore{handler: slog.NewTextHandler(&book, nil)})
	log.Named("obtain").Error("will retry")
	log.Error("job failed")
	log.Error("disk failed")
	if got := book.String(); strings.Contains(got, "will retry") || strings.Contains(got, "job failed") ||
		!strings.Contains(got, "level=ERROR msg=\"disk failed\"") {
		t.Errorf("log %s", got)
	}
}

func TestZapSecrets(t *testing.T) {
	var book logBook
	log := zap.New(&slogCore{handler: slog.NewTextHandler(&book, &slog.HandlerOptions{Level: slog.LevelDebug - 4})})
	for _, name := range secretFields {
		log.With(zap.String(name, "hush")).Debug("said", zap.Any(name, map[string]string{"nonce": "hush"}))
	}
	if n := strings.Count(book.String(), "said"); n != len(secretFields) || strings.Contains(book.String(), "hush") {
		t.Errorf("%d lines:\n%s", n, book.String())
	}
}

func TestZapLevels(t *testing.T) {
	core := &slogCore{handler: slog.NewTextHandler(new(logBook), &slog.HandlerOptions{Level: slog.LevelInfo})}
	for level, want := range map[zapcore.Level]bool{
		zapcore.DebugLevel: false, zapcore.InfoLevel: false, zapcore.WarnLevel: true,
		zapcore.ErrorLevel: true, zapcore.DPanicLevel: true, zapcore.FatalLevel: true,
	} {
		if core.Enabled(level) != want {
			t.Errorf("%v: enabled %v, want %v", level, !want, want)
		}
	}
	if slogLevel(zapcore.FatalLevel) != slog.LevelError {
		t.Error("something is worse than an error")
	}
}
