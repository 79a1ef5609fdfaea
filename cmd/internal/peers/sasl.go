package peers

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Mechanisms are the ways to log in that Auth knows.
var Mechanisms = []string{"APOP", "PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"}

// Auth logs in by one of Mechanisms and returns the last reply and everything secret that was sent or
// received on the way, as it stood on the wire.
func (c *Raw) Auth(mechanism, user, password string) (reply string, secrets []string, err error) {
	switch mechanism {
	case "APOP":
		stamp := c.Greeting[strings.Index(c.Greeting, "<") : strings.Index(c.Greeting, ">")+1]
		digest := md5.Sum([]byte(stamp + password))
		text := hex.EncodeToString(digest[:])
		reply, err = c.Do("APOP " + user + " " + text)
		return reply, []string{text}, err
	case "PLAIN":
		return c.steps("PLAIN", func(string) string { return "\x00" + user + "\x00" + password })
	case "LOGIN":
		return c.steps("LOGIN", func(string) string { return user }, func(string) string { return password })
	case "CRAM-MD5":
		return c.steps("CRAM-MD5", func(challenge string) string {
			mac := hmac.New(md5.New, []byte(password))
			mac.Write([]byte(challenge))
			return user + " " + hex.EncodeToString(mac.Sum(nil))
		})
	case "SCRAM-SHA-256":
		return c.scram(user, password)
	}
	return "", nil, fmt.Errorf("mechanism %s is not known", mechanism)
}

// steps answers each challenge in turn.
func (c *Raw) steps(mechanism string, answers ...func(challenge string) string) (reply string, secrets []string, err error) {
	reply, err = c.Step("AUTH " + mechanism)
	for _, answer := range answers {
		if err != nil || !strings.HasPrefix(reply, "+ ") {
			return reply, secrets, err
		}
		challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(reply[2:]))
		if err != nil {
			return reply, secrets, fmt.Errorf("challenge: %w", err)
		}
		line := base64.StdEncoding.EncodeToString([]byte(answer(string(challenge))))
		secrets = append(secrets, line)
		reply, err = c.Step(line)
		if err != nil {
			return reply, secrets, err
		}
	}
	return reply, secrets, err
}

// scram speaks RFC 5802 and checks the server's signature, so that a relay that touches an octet fails.
func (c *Raw) scram(user, password string) (string, []string, error) {
	var b [18]byte
	rand.Read(b[:])
	nonce := base64.StdEncoding.EncodeToString(b[:])
	escape := strings.NewReplacer("=", "=3D", ",", "=2C")
	first := "n=" + escape.Replace(user) + ",r=" + nonce
	var want string // the server's signature
	var failed error
	reply, secrets, err := c.steps("SCRAM-SHA-256",
		func(string) string { return "n,," + first },
		func(challenge string) string {
			var final string
			final, want, failed = scramFinal(first, challenge, password)
			return final
		},
		func(challenge string) string {
			if challenge != "v="+want {
				failed = fmt.Errorf("server signature %q, want %q", challenge, want)
			}
			return ""
		})
	if failed != nil {
		err = failed
	}
	return reply, append(secrets, nonce), err
}

// scramFinal computes the client's final message and the signature the server must answer with.
func scramFinal(first, challenge, password string) (final, signature string, err error) {
	fields := map[string]string{}
	for field := range strings.SplitSeq(challenge, ",") {
		key, value, _ := strings.Cut(field, "=")
		fields[key] = value
	}
	salt, err1 := base64.StdEncoding.DecodeString(fields["s"])
	rounds, err2 := strconv.Atoi(fields["i"])
	if err1 != nil || err2 != nil {
		return "", "", fmt.Errorf("server first message %q", challenge)
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", "", err
	}
	clientKey := mac(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	bare := "c=biws,r=" + fields["r"]
	message := first + "," + challenge + "," + bare
	proof := mac(stored[:], message)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	signature = base64.StdEncoding.EncodeToString(mac(mac(salted, "Server Key"), message))
	return bare + ",p=" + base64.StdEncoding.EncodeToString(proof), signature, nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
