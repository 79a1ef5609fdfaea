package tlsup

import (
	"context"
	"strings"
	"time"
)

// wardenPace is how often the warden looks; certificates of a few days are the shortest there are.
const wardenPace = time.Minute

// alarm is how near its end a certificate was when that was last told.
type alarm int

const (
	alarmNone alarm = iota
	alarmFirst
	alarmSecond
	alarmExpired
)

// warden tells when certificates come near their end, whoever should have renewed them. It belongs to New, and then to
// the goroutine of keep.
type warden struct {
	told  map[string]alarm // by what tells one certificate from another; only of those in service
	after time.Time        // of the next attempt to have the local authority stand in, when the last one failed
}

// keep renews the local authority's certificate and lets the warden look, until ctx is done.
func (s *Source) keep(ctx context.Context) {
	tick := time.NewTicker(wardenPace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.look(now)
		}
	}
}

// look does what is due at now.
func (s *Source) look(now time.Time) {
	s.lookLocal(now)
	told := make(map[string]alarm, len(s.warden.told))
	for _, c := range s.Certificates() {
		if c.Awaited {
			continue
		}
		// Serial numbers alone will not do: who signs for himself often counts from one.
		key := strings.Join([]string{c.Source, c.Issuer, c.Serial, c.NotAfter.String(), strings.Join(c.Names, " ")}, "\x00")
		level := alarmOf(c, now)
		if level > s.warden.told[key] {
			s.raise(c, level, now)
		}
		told[key] = max(level, told[key])
	}
	s.warden.told = told
}

// lookLocal sees to it that the local authority is there when it is needed, and its certificate fresh.
func (s *Source) lookLocal(now time.Time) {
	if s.acme != nil && now.After(s.warden.after) {
		if err := s.standInForAll(); err != nil {
			s.log.Error("nothing stands in for certificates that are not there yet", "err", err, "retry_in", reissueRetry)
			s.warden.after = now.Add(reissueRetry)
		}
	}
	if a := s.local.Load(); a != nil && a.due(now) {
		if err := s.reissue(a, now); err != nil {
			s.log.Error("local certificate not renewed, the old one stays in service", "err", err, "retry_in", reissueRetry)
		}
	}
}

// alarmOf is 14 and 3 days before the end for certificates of 90 days, and as much less for those that live less.
func alarmOf(c Certificate, now time.Time) alarm {
	const day = 24 * time.Hour
	life, left := c.NotAfter.Sub(c.NotBefore), c.NotAfter.Sub(now)
	switch {
	case left <= 0:
		return alarmExpired
	case left <= min(3*day, life/30):
		return alarmSecond
	case left <= min(14*day, life/6):
		return alarmFirst
	}
	return alarmNone
}

func (s *Source) raise(c Certificate, level alarm, now time.Time) {
	names, remedy := strings.Join(c.Names, " "), remedyOf(c)
	if level == alarmExpired {
		s.log.Error("certificate has expired, clients refuse it; "+remedy, "names", names, "not_after", c.NotAfter)
		s.config.Notify(c.event(EventExpired, remedy))
		return
	}
	left := c.NotAfter.Sub(now).Round(time.Minute)
	if level == alarmSecond {
		s.log.Error("certificate is about to expire; "+remedy, "names", names, "left", left, "not_after", c.NotAfter)
	} else {
		s.log.Warn("certificate expires soon; "+remedy, "names", names, "left", left, "not_after", c.NotAfter)
	}
	s.config.Notify(c.event(EventExpiring, remedy))
}

// remedyOf tells what to do about a certificate that nobody renewed.
func remedyOf(c Certificate) string {
	switch {
	case c.Source == SourceFile:
		return "replace " + c.File + " and its key: they are read again by themselves"
	case c.Err != "":
		return "its renewal fails: " + c.Err
	case c.Source == SourceLocal:
		return "remove local-ca from the data directory and start again, and have clients trust the new root"
	}
	return "see that this machine reaches the authority"
}
