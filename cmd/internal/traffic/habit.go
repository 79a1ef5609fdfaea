package traffic

import (
	"crypto/md5"
	"fmt"
	"io"
	"math/rand/v2"
)

// habit is how a user goes about reading mail, once the connection stands and has TLS.
type habit func(c *client, u User, r *rand.Rand)

// choose picks the habit of session n: the first ones show what there is, then chance decides.
func choose(r *rand.Rand, n int) habit {
	opening := []habit{readSome, readAndDelete, mistype, changeMind, askLikeOldTimes, hangUp, justLook}
	if n < len(opening) {
		return opening[n]
	}
	often := []habit{justLook, justLook, justLook, readSome, readSome, readSome, readAndDelete, readAndDelete,
		changeMind, askLikeOldTimes, mistype, giveUp, hangUp, vanish}
	return often[r.IntN(len(often))]
}

func login(c *client, u User) bool { return c.say("USER %s", u.Name) && c.say("PASS %s", u.Password) }

// justLook asks whether there is mail.
func justLook(c *client, u User, _ *rand.Rand) {
	if login(c, u) && c.say("STAT") {
		c.say("QUIT")
	}
}

// readSome leaves mail on the server, as a telephone does.
func readSome(c *client, u User, r *rand.Rand) {
	c.list("CAPA")
	if !c.say("AUTH PLAIN %s", plain(u)) {
		return
	}
	count, ok := c.list("UIDL")
	for range min(count, 1+r.IntN(3)) {
		if !ok {
			return
		}
		_, ok = c.list("RETR %d", 1+r.IntN(count))
	}
	c.say("QUIT")
}

// readAndDelete takes mail away, as a desktop program does.
func readAndDelete(c *client, u User, r *rand.Rand) {
	if !login(c, u) {
		return
	}
	c.list("UIDL")
	count, ok := c.list("LIST")
	for n := 1; ok && n <= min(count, 1+r.IntN(2)); n++ {
		_, ok = c.list("RETR %d", n)
		ok = ok && c.say("DELE %d", n)
	}
	c.say("QUIT")
}

// changeMind deletes and takes it back.
func changeMind(c *client, u User, _ *rand.Rand) {
	if login(c, u) && c.say("DELE 1") && c.say("DELE 2") && c.say("RSET") && c.say("NOOP") {
		c.say("QUIT")
	}
}

// askLikeOldTimes logs in by APOP and asks for what RFC 1939 has dropped.
func askLikeOldTimes(c *client, u User, _ *rand.Rand) {
	if !c.say("APOP %s %s", u.Name, fmt.Sprintf("%x", md5.Sum([]byte(c.stamp+u.Password)))) {
		return
	}
	c.say("LAST")
	c.list("TOP 1 0")
	c.say("QUIT")
}

// mistype needs two tries.
func mistype(c *client, u User, r *rand.Rand) {
	c.say("USER %s", u.Name)
	c.say("PASS %s", u.Password[1:])
	justLook(c, u, r)
}

// giveUp does not know the password at all.
func giveUp(c *client, u User, _ *rand.Rand) {
	c.say("USER %s", u.Name)
	c.say("PASS %s", "123456")
	c.say("USER admin")
	c.say("PASS %s", "letmein")
	c.say("QUIT")
}

// hangUp loses the connection in the middle of the largest message.
func hangUp(c *client, u User, _ *rand.Rand) {
	if !login(c, u) {
		return
	}
	if number, octets := c.largest(); number > 0 && c.say("RETR %d", number) {
		io.CopyN(io.Discard, c.text.R, octets/3)
	}
}

// vanish forgets to say QUIT, so that its delete is rolled back.
func vanish(c *client, u User, _ *rand.Rand) {
	if login(c, u) && c.say("DELE 1") {
		c.think()
	}
}
