CREATE TABLE "a
::error::b[31m`|<script>"(id INTEGER PRIMARY KEY, "c]d" TEXT, [e"f] TEXT, `g` BLOB);
CREATE INDEX "i;--" ON "a
::error::b[31m`|<script>"("c]d" COLLATE NOCASE DESC) WHERE "c]d" IS NOT 'a--b';