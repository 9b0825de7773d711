"""Public mail domains: any person can have an address there, so they never identify a company."""

from __future__ import annotations

_NAMES = """
gmail.com googlemail.com
yahoo.com yahoo.co.uk yahoo.ca yahoo.com.au yahoo.com.br yahoo.com.mx yahoo.com.ar yahoo.co.in yahoo.in yahoo.co.jp yahoo.fr
yahoo.de yahoo.es yahoo.it yahoo.co.nz yahoo.com.ph yahoo.com.sg ymail.com rocketmail.com myyahoo.com
outlook.com outlook.co.uk outlook.fr outlook.de outlook.es outlook.it outlook.com.au outlook.com.br
hotmail.com hotmail.co.uk hotmail.ca hotmail.fr hotmail.de hotmail.es hotmail.it hotmail.com.au hotmail.com.br hotmail.com.mx
live.com live.ca live.co.uk live.com.mx live.com.au live.fr live.nl msn.com passport.com windowslive.com
aol.com aim.com aol.co.uk netscape.net compuserve.com verizon.net
icloud.com me.com mac.com
proton.me protonmail.com protonmail.ch pm.me tutanota.com tutanota.de tutamail.com tuta.io tuta.com keemail.me
gmx.com gmx.net gmx.de gmx.at gmx.ch gmx.us gmx.co.uk web.de freenet.de t-online.de mail.de posteo.de mailbox.org
mail.com email.com usa.com myself.com consultant.com post.com europe.com asia.com doctor.com dr.com engineer.com
fastmail.com fastmail.fm fastmail.us sent.com hey.com hushmail.com hush.com zoho.com zohomail.com zohomail.eu
yandex.com yandex.ru ya.ru mail.ru bk.ru inbox.ru list.ru rambler.ru ukr.net
qq.com foxmail.com 163.com 126.com yeah.net sina.com sina.cn sohu.com aliyun.com 139.com
naver.com hanmail.net daum.net nate.com rediffmail.com
comcast.net xfinity.com att.net sbcglobal.net bellsouth.net pacbell.net swbell.net ameritech.net flash.net prodigy.net snet.net
nvbell.net currently.com cox.net charter.net spectrum.net roadrunner.com rr.com twc.com brighthouse.com
optonline.net optimum.net suddenlink.net frontier.com frontiernet.net centurylink.net centurytel.net embarqmail.com q.com
qwest.net earthlink.net mindspring.com peoplepc.com juno.com netzero.net netzero.com windstream.net tds.net mediacombb.net
wowway.com rcn.com cableone.net sparklight.net consolidated.net hughes.net wildblue.net excite.com lycos.com usa.net
tmomail.net vtext.com txt.att.net pinger.com
bell.net sympatico.ca rogers.com shaw.ca telus.net videotron.ca cogeco.ca eastlink.ca
btinternet.com btopenworld.com sky.com virginmedia.com ntlworld.com blueyonder.co.uk talktalk.net tiscali.co.uk
orange.fr wanadoo.fr free.fr sfr.fr laposte.net neuf.fr libero.it virgilio.it tiscali.it alice.it tin.it
telefonica.net terra.com terra.com.br uol.com.br bol.com.br ig.com.br globo.com prodigy.net.mx
ziggo.nl kpnmail.nl planet.nl home.nl xs4all.nl skynet.be telenet.be bluewin.ch
bigpond.com bigpond.net.au optusnet.com.au iinet.net.au xtra.co.nz
mailinator.com guerrillamail.com 10minutemail.com yopmail.com temp-mail.org duck.com privaterelay.appleid.com
simplelogin.com anonaddy.com mozmail.com relay.firefox.com
"""

#: Public mail domains in lower case; settings may add to them (``routing.public_domains``).
PUBLIC_DOMAINS: frozenset[str] = frozenset(_NAMES.split())
