"""Makes `twistd stalwart` known to Twisted."""

from twisted.application.service import ServiceMaker

stalwart = ServiceMaker("stalwart", "stalwart.tap", "Mail over HTTP: JMAP, and LMTP to fill it.", "stalwart")
