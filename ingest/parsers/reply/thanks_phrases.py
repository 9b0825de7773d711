"""How people say thanks, greet and close, in the languages of our customers. Tables of patterns only.

Each pattern is matched without regard to case at the start of the remaining text. The patterns name whole phrases: any other
text counts as content, and a missing phrase costs no more than a ticket reopened by a thank-you.
"""

from __future__ import annotations

#: Language → phrases of thanks, with their reasons ("for your help").
THANKS = {
    "English": r"(?:(?:many|a thousand|special|big) )?thanks?(?: (?:you|u))?(?: (?:so|very) much| a (?:lot|million"
    r"|ton|bunch)| again"
    r"| kindly| in advance| all| both| to you| to everyone)*"
    r"(?: for (?:everything|all (?:of )?your (?:help|support|work)|(?:your|the|this) (?:(?:quick|prompt|fast|kind"
    r"|great|helpful|speedy"
    r"|very|detailed) )*(?:help|reply|response|answer|support|assistance|time|patience|work|efforts?|update|clarification"
    r"|follow[- ]?up|feedback|information|info|explanation|email|message|service|recap|summary)"
    r"|(?:helping|assisting)(?: (?:me|us))?(?: out)?|(?:letting|keeping) (?:me|us) (?:know|posted|informed)"
    r"|getting back to (?:me|us)(?: so quickly)?|clarifying|confirming|explaining|(?:taking care of|looking into"
    r"|fixing|solving"
    r"|resolving|sorting out|handling|doing) (?:this|that|it)|sorting (?:this|that|it) out|being so helpful))?"
    r"|thx|tysm|ty|cheers|much appreciated|(?:it is |that is |it's |that's )?(?:very |much |greatly )?appreciated"
    r"|(?:i |we )?(?:really |greatly |very much )?appreciate (?:it|this|that|(?:all )?(?:your|the) (?:help|support"
    r"|time|efforts?))",
    "German": r"(?:ich |wir )?(?:(?:vielen|besten|herzlichen|lieben|tausend|recht herzlichen) (?:lieben )?dank"
    r"|danken?(?:schön)?|dankeschön|merci(?= vielmals))"
    r"(?: (?:ihnen|dir|euch|sehr|schön|nochmals|nochmal|vielmals|herzlich|bestens|an alle|im voraus))*"
    r"(?: für (?:alles|(?:die|ihre|deine|eure|den|das|ihren|deinen) (?:(?:schnelle|rasche|prompte|gute|freundliche"
    r"|tolle|schnellen)n? )?"
    r"(?:hilfe|antwort|rückmeldung|unterstützung|info|information|informationen|auskunft|bearbeitung|mühe|erklärung"
    r"|erledigung"
    r"|service|nachricht|zeit|geduld)))?",
    "French": r"(?:(?:un grand|mille|grand) )?mercis?(?: (?:beaucoup|bien|encore|infiniment|à vous|à tous|d'avance"
    r"|mille fois))*"
    r"(?: (?:pour (?:tout|(?:votre|ton|l'|la|le|vos|cette|ces) ?(?:aide|réponse|retour|réactivité|information"
    r"|informations|message"
    r"|suivi|soutien|temps|patience|explications?)(?: rapide)?)|de (?:votre|ton) (?:aide|réponse|retour)(?: rapide)?))?"
    r"|je vous remercie(?: (?:beaucoup|infiniment|pour votre (?:aide|réponse)))?|nous vous remercions",
    "Spanish": r"(?:muchas |muchísimas |mil )?gracias(?: (?:de nuevo|otra vez|a todos|a ustedes|a usted|de antemano))*"
    r"(?: por (?:todo|(?:su|tu|la|el) (?:(?:rápida|pronta|gran) )?(?:ayuda|respuesta|atención|apoyo|información"
    r"|aclaración|tiempo|gestión)"
    r"|(?:avisar|responder|ayudar(?:me|nos)?|la pronta respuesta)))?|(?:le |les |te )?(?:agradezco"
    r"|agradecemos)(?: (?:mucho|su ayuda|la ayuda))*"
    r"|muy agradecid[oa]",
    "Portuguese": r"(?:muito |muitíssimo )?(?:obrigad[oa]s?|agradecid[oa]s?|obg)(?: (?:mesmo|mais uma vez|novamente"
    r"|a todos|desde já))*"
    r"(?: (?:por (?:tudo|(?:sua|esta|essa) (?:ajuda|atenção|resposta))|pel[ao] (?:(?:sua|vossa|rápida|pronta) )?"
    r"(?:ajuda|resposta|retorno|atenção|informação|apoio|esclarecimento|tempo|paciência)(?: rápida)?))?"
    r"|(?:agradeço|agradecemos)(?: (?:muito|a ajuda|a atenção|pela ajuda))*",
    "Italian": r"(?:molte |tante |mille )?grazie(?: (?:mille|tante|infinite|ancora|di nuovo|di tutto|a tutti|di cuore))*"
    r"(?: (?:per (?:tutto|(?:il|la|l'|il vostro|il suo|la vostra|la sua) ?(?:aiuto|risposta|supporto|disponibilità"
    r"|informazione"
    r"|riscontro|chiarimento|assistenza)(?: rapida)?|l'aiuto|avermi aiutato)|dell'aiuto|della risposta))?"
    r"|(?:la |vi )?ringrazi(?:o|amo)(?: (?:molto|tanto|ancora|per l'aiuto|per la risposta))*",
    "Dutch": r"(?:heel |hartelijk |héél )?(?:bedankt|dank ?(?:u|je)(?: ?wel)?|dank|dankjewel)(?: (?:wel|zeer|nogmaals"
    r"|alvast|hartelijk|allemaal))*"
    r"(?: voor (?:alles|(?:uw|je|jullie|de|het) (?:snelle |goede |prompte )?(?:hulp|antwoord|reactie|informatie|info"
    r"|bericht|moeite"
    r"|ondersteuning|uitleg)))?|(?:veel|hartelijke) dank",
    "Polish": r"(?:bardzo |serdecznie |z góry |jeszcze raz )*(?:dziękuję|dziękujemy|dzięki|dziekuje"
    r"|dzieki)(?: (?:bardzo|serdecznie|pięknie|wielkie"
    r"|jeszcze raz|państwu|panu|pani))*(?: za (?:wszystko|(?:szybką )?(?:pomoc|odpowiedź|informację|wsparcie"
    r"|wyjaśnienie|wiadomość)))?",
    "Swedish": r"(?:många |stort |hjärtligt )?tack(?: (?:så (?:mycket|hemskt mycket)|snälla|igen|på förhand|ska du ha))*"
    r"(?: för (?:allt|(?:din |er |den |det |snabb |snabbt )*(?:hjälpen|hjälp|svar|svaret|informationen|info|infon)))?|tackar",
    "Danish": r"(?:mange |tusind )?tak(?: (?:for det|igen|skal (?:du|i) have|på forhånd|så meget))*"
    r"(?: for (?:alt|(?:din |jeres |den |det |hurtig |hurtige |hurtigt )*(?:hjælpen|hjælp|svar|svaret|info|informationen)))?",
    "Norwegian": r"(?:mange |tusen |hjertelig )?takk(?: (?:for det|igjen|skal du ha|på forhånd|så mye))*"
    r"(?: for (?:alt|(?:din |deres |den |det |rask |raskt )*(?:hjelpen|hjelp|hjelpa|svar|svaret|info|informasjonen)))?",
    "Finnish": r"(?:paljon |suuret |suuri |monet )?(?:kiitos|kiitokset|kiitoksia|kiitti|kiitän|kiitämme)(?: (?:paljon"
    r"|teille|sinulle|vielä|jo etukäteen"
    r"|etukäteen|nopeasta|avusta|avustanne|vastauksesta|tiedosta|kaikesta))*",
    "Czech": r"(?:moc |mnohokrát |ještě jednou )*(?:děkuji|děkuju|děkujeme|díky|dík|dekuji)(?: (?:moc|mnohokrát|vám"
    r"|ti|předem|ještě jednou))*"
    r"(?: za (?:všechno|vše|(?:rychlou |vaši )*(?:pomoc|odpověď|informaci|informace|podporu|vysvětlení)))?",
    "Hungarian": r"(?:nagyon |szépen |hálásan |előre is |még egyszer )*(?:köszönöm|köszönjük|köszi|kösz|köszönet)"
    r"(?: (?:szépen|a segítséget|a választ|a gyors választ|az információt|a segítségét|mindent|előre is))*",
    "Turkish": r"(?:çok |tekrar )*(?:teşekkür(?:ler)?(?: ederi[mz])?|sağ ?ol(?:un)?|tşk|mersi)(?: (?:ederi[mz]|tekrar|çok))*"
    r"|(?:yardımınız|cevabınız|bilgi|ilginiz|hızlı cevabınız) için",
    "Russian": r"(?:большое |огромное |ещё раз |еще раз |заранее )*(?:спасибо|благодарю|благодарим"
    r"|благодарствую)(?: (?:вам|вас|тебе|большое|огромное|всем"
    r"|ещё раз|еще раз))*(?: за (?:всё|все|(?:быстрый |быструю |вашу |ваш |оперативный )*(?:помощь|ответ|информацию"
    r"|поддержку|разъяснение)))?",
    "Hebrew": r"(?:המון |רוב )?(?:תודה|תודות)(?: (?:רבה|לך|לכם|שוב|מראש|על העזרה|על התשובה|על הכל|על המענה המהיר|על המענה))*",
    "Chinese": r"(?:好的?[，, ]*)?(?:非常|十分|多)?(?:谢谢|謝謝|感谢|感謝|多谢|多謝)(?:您|你|你们|您们|大家|了|啦|们)*"
    r"(?:的)?(?:帮助|幫助|回复|回覆|支持|协助|協助|解答|帮忙|幫忙)?",
    "Japanese": r"(?:ご(?:対応|回答|返信|連絡|協力|支援|丁寧に)(?:いただき|頂き)?[、,]?|迅速な|早速の|早々の|この度は"
    r"|大変|誠に|本当に|どうも)*"
    r"(?:ありがとうございま(?:す|した)|有難うございま(?:す|した)|有り難うございま(?:す|した)|ありがとう"
    r"|感謝(?:いたします|します|申し上げます)|助かりました)",
    "Korean": r"(?:정말|대단히|너무|매우|도와 ?주셔서|빠른 (?:답변|회신)|답변|회신|도움)?(?:을"
    r"|에)?(?: ?주셔서)? ?(?:감사(?:합니다|드립니다|해요)|고맙습니다|고마워요)",
}  # fmt: skip

GREETINGS = (
    r"(?:hi|hello|hey|dear|good (?:morning|afternoon|evening|day)|greetings)(?: (?:all|team|there|everyone|both|folks"
    r"|support|sir|madam))*",
    r"(?:sehr geehrte[r]?|liebe[rs]?|hallo|guten (?:tag|morgen|abend)|moin|servus|grüezi)(?: (?:zusammen|team"
    r"|damen und herren))?",
    r"bonjour|bonsoir|salut|chère?|buen(?:os|as) (?:días|tardes|noches)|buen día|hola|estimad[oa]s?|querid[oa]s?"
    r"|bom dia|boa (?:tarde|noite)|olá|oi|car[oaie]|prezad[oa]s?|buon(?:giorno| giorno|asera)|ciao|salve|gentile"
    r"|gent\.ma|egregio",
    r"beste|geachte|hoi|goede(?:morgen|middag|navond)|dag|dzień dobry|cześć|szanown[iay] państwo|szanown[iay]|witam"
    r"|hej(?: alla| alle)?|hejsan|god (?:morgon|morgen|dag|kväll)|kære|kjære|hei(?: alle)?|hyvää (?:päivää|huomenta)"
    r"|moi|terve",
    r"dobrý den|ahoj|vážen[íýá]|jó napot(?: kívánok)?|kedves|tisztelt|szia|sziasztok|üdv|merhaba(?:lar)?"
    r"|selam(?:lar)?|sayın|iyi günler",
    r"здравствуйте|добрый (?:день|вечер)|доброе утро|привет|уважаем(?:ый|ая|ые)|שלום(?: רב)?|היי|בוקר טוב|ערב טוב",
    r"(?:您|你)好|大家好|早上好|早安|お世話になっております|お世話になります|こんにちは|お疲れ様です|안녕하세요|안녕하십니까",
    r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]{1,6} ?(?:様|さま|さん|先生|老师|女士|小姐|님|씨)",
)
TITLES = (
    r"(?:mr|mrs|ms|mx|dr|prof|sr|sra|srta|dhr|mevr|mw|herr|frau|hr|fr)\b\.?|miss|madame|monsieur|señora?|señor"
    r"|senhora?|signora?|sig\.(?:ra)?|dott\.(?:ssa)?"
    r"|mevrouw|meneer|pan[ie]?\b|paní|úr|hanım|bey",
)
#: Phrases that may accompany thanks and ask for nothing: praise, acknowledgement, good wishes.
ASIDES = (
    r"(?:ok(?:ay)?|great|perfect|excellent|awesome|wonderful|fantastic|brilliant|amazing|super|lovely|nice|got it"
    r"|received|understood|noted"
    r"|all (?:good|set|clear)|sounds good|good to know|problem solved|no (?:further|more|other) questions|(?:and|so"
    r"|again|very|much|once again))(?!')",
    r"(?:that|this|it|everything|all)(?:'s| is| was| has)? ?(?:now |all )?(?:(?:works?|worked|working|helps?|helped"
    r"|resolved|solved|fixed|perfect|great"
    r"|fine|clear|settled|good|helpful|very helpful|so helpful|what (?:i|we) needed|all (?:i|we) needed|did the trick"
    r"|done)(?: now| again)?)",
    r"(?:have|hope you have|enjoy) (?:a|your) (?:great|nice|good|lovely|wonderful|blessed|fantastic|happy"
    r"|safe)? ?(?:day|one|weekend|week|evening|afternoon"
    r"|night|holidays?|rest of (?:the|your) (?:day|week))|you too|you(?:'re| are| guys are| all are) (?:the best"
    r"|awesome|great|amazing|a lifesaver|so helpful)"
    r"|happy (?:holidays|friday|new year|thanksgiving)|god bless(?: you)?|stay safe|(?:please |you (?:can"
    r"|may) )?close (?:the|this|my) (?:ticket|case)(?: now)?",
    r"alles (?:klar|gut|bestens|erledigt|in ordnung)|(?:hat|es hat|das hat) (?:super |gut )?(?:geklappt|funktioniert"
    r"|geholfen)|super|prima|toll|perfekt|bestens"
    r"|erhalten|verstanden|einen? (?:schönen?|guten?|angenehmen?) (?:tag|abend|woche|wochenende|feierabend)(?: noch)?"
    r"|schönen? (?:tag|abend|wochenende)(?: noch)?"
    r"|schönes wochenende|ihnen auch|wünsche ich(?: ihnen)?",
    r"parfait|super|très bien|bien reçu|c'est (?:parfait|noté|réglé|bon)|d'accord|bonne (?:journée|soirée|semaine"
    r"|fin de journée)|bon week-?end|à bientôt|belle journée"
    r"|perfecto|excelente|muy bien|recibido|entendido|de acuerdo|que teng[ae]n? (?:un )?buen (?:día|fin de semana)"
    r"|buen (?:día|fin de semana)|vale|listo|todo bien",
    r"perfeito|ótimo|excelente|recebido|entendido|tudo (?:certo|bem)|bom fim de semana|(?:tenha )?(?:um )?bom dia"
    r"|um abraço|perfetto|ottimo|benissimo|ricevuto"
    r"|tutto (?:ok|chiaro|bene)|va bene|buona (?:giornata|serata|settimana)|buon (?:lavoro|fine settimana|weekend)",
    r"prima|perfect|helemaal goed|ontvangen|duidelijk|fijne (?:dag|avond|weekend)(?: nog)?|fijn weekend|super"
    r"|świetnie|super|doskonale|wszystko jasne|otrzymałam?"
    r"|miłego (?:dnia|weekendu|wieczoru)|toppen|perfekt|utmärkt|kanon|bra|jättebra|ha en (?:bra|fin) dag"
    r"|trevlig (?:helg|dag|kväll)",
    r"perfekt|fint|super|dejligt|modtaget|ha(?:v)? en (?:god|dejlig|fin) (?:dag|weekend|aften|helg)|god (?:weekend"
    r"|helg)|flott|supert|topp|mottatt"
    r"|hienoa|mahtavaa|selvä|hyvä|ok|hyvää (?:viikonloppua|päivänjatkoa)|mukavaa (?:päivää|viikonloppua)|výborně"
    r"|skvělé|super|v pořádku|hezký (?:den|víkend|večer)"
    r"|přeji hezký den|pěkný den",
    r"szuper|tökéletes|rendben|megkaptam|szép napot|(?:további )?szép napot(?: kívánok)?|jó hétvégét|harika|süper"
    r"|mükemmel|tamam|aldım|anladım|kolay gelsin"
    r"|iyi (?:günler|çalışmalar|akşamlar|hafta sonları)|отлично|супер|прекрасно|всё (?:понятно|получил[аи]?|работает)"
    r"|все понятно|получил[аи]?|понял[аи]?"
    r"|хорошего (?:дня|вечера|настроения)|хороших выходных|всего доброго",
    r"מעולה|מצוין|קיבלתי|הבנתי|יום (?:טוב|נעים)|סוף שבוע (?:טוב|נעים)|שבוע טוב|好的?|收到(?:了)?|太好了|明白了?|了解"
    r"|知道了|祝(?:您|你)?(?:工作顺利|愉快|一切顺利|生活愉快|周末愉快)"
    r"|承知(?:いたしました|しました)|了解(?:いたしました|しました|です)|(?:今後とも|引き続き|どうぞ)?(?:よろしく"
    r"|宜しく)お(?:願い|ねがい)(?:いた|致)?します|確認(?:いたしました|しました)"
    r"|네|예|알겠습니다|확인했습니다|잘 (?:받았습니다|해결되었습니다)|좋은 하루 되세요|수고하세요|좋은 하루 보내세요"
    r"|수고하셨습니다",
)  # fmt: skip
#: Suffixes of a name in scripts without capitals.
NAME_ENDINGS = ("드림", "올림", "배상", "敬上", "拝")
#: Words that are not names although people capitalise them.
NON_NAME_WORDS = frozenset(
    {
        "urgent", "wrong", "denied", "no", "not", "please", "call", "still", "but", "cancel", "stop", "help", "refund", "unpaid",
        "error", "why", "when", "what", "where", "how", "can", "could", "will", "would", "is", "are", "do", "does", "claim",
        "invoice", "bill", "case", "account", "payment", "rechnung", "bitte", "facture", "factura", "fattura",
    }
)  # fmt: skip
